import Database from 'better-sqlite3'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import {
  HeldReaders,
  type ReaderMark,
  type WalSigns,
} from '../../../../src/infrastructure/sqlite/held-readers.js'
import { frameHeaderBytes, offsetAfterFrames } from '../../../../src/domain/wal/wal-format.js'
import { identifyLogFile } from '../../../../src/infrastructure/sqlite/log-files.js'
import { WalFile } from '../../../../src/infrastructure/sqlite/wal-file.js'
import { WalReader } from '../../../../src/infrastructure/sqlite/wal-reader.js'

/** Of the places for readers' marks, from 0 on, in `-shm` (SQLite's `wal.c`: WAL_READ_LOCK). */
const firstPlaceByte = 123

let folder: string
let path: string
let application: Database.Database
let wal: WalFile
let held: HeldReaders
let busyness: number
let isAwaited: boolean

beforeEach(() => {
  vi.useFakeTimers()
  folder = mkdtempSync(join(tmpdir(), 'tsreplicate-'))
  path = join(folder, 'app.db')
  application = new Database(path, { timeout: 0 })
  application.exec('PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (n)')
  wal = new WalFile(path, identifyLogFile(statSync(`${path}-wal`)))
  busyness = 1
  isAwaited = false
  held = new HeldReaders(path, signs, {
    busynessNow: () => busyness,
    isAwaited: () => isAwaited,
  })
  const first = new WalReader(path)
  first.begin()
  held.take(first)
})

afterEach(() => {
  vi.useRealTimers()
  held.close()
  wal.close()
  application.close()
  rmSync(folder, { recursive: true })
})

const commit = (): void => void application.exec('INSERT INTO t VALUES (1)')

function checkpoint(kind: string): { busy: number; log: number; checkpointed: number } {
  const [row] = application.pragma(`wal_checkpoint(${kind})`) as [
    { busy: number; log: number; checkpointed: number },
  ]
  return row
}

/** The places that readers are in now. The kernel lists neighbours as one range. */
function places(): readonly number[] {
  const { ino } = statSync(`${path}-shm`)
  const lines = readFileSync('/proc/locks', 'utf8').matchAll(
    new RegExp(`POSIX .* ${process.pid} \\S+:${ino} (\\d+) (\\d+)`, 'g'),
  )
  return [...lines].flatMap(([, first, last]) =>
    [0, 1, 2, 3, 4].filter((place) => {
      const byte = firstPlaceByte + place
      return byte >= Number(first) && byte <= Number(last)
    }),
  )
}

const signs = (frameCount: number): WalSigns => ({
  header: wal.header(),
  next: wal.read(offsetAfterFrames(frameCount, 4096), frameHeaderBytes),
})

/** Begins the next reader; all up to its mark counts as captured. */
function begin(): { next: WalReader; mark: ReaderMark } {
  const next = held.takeSpare()
  const { frameCount } = next.state()
  next.begin()
  return { next, mark: { frameCount, signs: signs(frameCount), isExact: true } }
}

test('a newer reader is let go for a moment, while the one before is held, and takes its place then', () => {
  commit()
  const [before] = places()
  const { next, mark } = begin()
  expect(places()).toHaveLength(2)
  held.replace(next, mark, { isQuiet: true })
  expect(places()).toEqual([before])
  expect(held.isSettled).toBe(false)
  // Who waits for the place of the newer one gets it now; the frames past the mark of the one before are kept.
  expect(checkpoint('PASSIVE')).toMatchObject({ log: 3, checkpointed: 2 })
  vi.advanceTimersByTime(20)
  expect(held.isSettled).toBe(true)
  expect(places()).toHaveLength(1)
  expect(places()).not.toEqual([before])
  expect(checkpoint('FULL')).toEqual({ busy: 0, log: 3, checkpointed: 3 })
})

test('on a busy machine it is let go for longer, as who waits for its place runs later there', () => {
  busyness = 8
  commit()
  const [before] = places()
  const { next, mark } = begin()
  held.replace(next, mark, { isQuiet: true })
  vi.advanceTimersByTime(5)
  expect(held.isSettled).toBe(false)
  expect(places()).toEqual([before])
  vi.advanceTimersByTime(5)
  expect(held.isSettled).toBe(true)
  expect(places()).not.toEqual([before])
})

test('on a busy machine it stays away while a checkpoint may wait for it, but no more than four times as long', () => {
  busyness = 8
  isAwaited = true
  commit()
  const [before] = places()
  const { next, mark } = begin()
  held.replace(next, mark)
  vi.advanceTimersByTime(4 + 35)
  expect(held.isSettled).toBe(false)
  expect(places()).toEqual([before])
  vi.advanceTimersByTime(10)
  expect(held.isSettled).toBe(true)
  expect(places()).not.toEqual([before])
})

test('it comes back as soon as no checkpoint is under way, or somebody writes, who holds the lock of who would wait', () => {
  busyness = 8
  isAwaited = true
  commit()
  const first = begin()
  held.replace(first.next, first.mark)
  vi.advanceTimersByTime(4 + 25)
  expect(held.isSettled).toBe(false)
  isAwaited = false
  vi.advanceTimersByTime(10)
  expect(held.isSettled).toBe(true)
  isAwaited = true
  commit()
  const second = begin()
  held.replace(second.next, second.mark)
  vi.advanceTimersByTime(4 + 15)
  commit()
  const [between] = places()
  vi.advanceTimersByTime(10)
  // Its mark would be past what is captured: the next capture brings another one.
  expect(places()).toEqual([between])
  vi.advanceTimersByTime(100)
  expect(places()).toEqual([between])
})

test('where writers go on, a commit ends the trial, and the newer reader is never let go', () => {
  commit()
  const { next, mark } = begin()
  held.replace(next, mark)
  expect(places()).toHaveLength(2)
  commit()
  vi.advanceTimersByTime(4)
  expect(held.isSettled).toBe(true)
  expect(places()).toHaveLength(1)
  expect(checkpoint('PASSIVE')).toMatchObject({ log: 4, checkpointed: 3 })
})

test('a commit while the newer one is let go leaves the one before until all of it is captured', () => {
  commit()
  const { next, mark } = begin()
  const [before] = places()
  held.replace(next, mark, { isQuiet: true })
  commit()
  vi.advanceTimersByTime(50)
  expect(held.isSettled).toBe(false)
  expect(places()).toHaveLength(1)
  expect(checkpoint('PASSIVE')).toMatchObject({ log: 4, checkpointed: 2 })
  expect(places()).toEqual([before])
  const after = begin()
  held.replace(after.next, after.mark, { isQuiet: true })
  vi.advanceTimersByTime(20)
  expect(held.isSettled).toBe(true)
  expect(checkpoint('FULL')).toEqual({ busy: 0, log: 4, checkpointed: 4 })
})

test('a reader that has the mark of the one before, and its place, needs no trial', () => {
  commit()
  const { next, mark } = begin()
  held.replace(next, mark, { isQuiet: true })
  vi.advanceTimersByTime(20)
  expect(held.isSettled).toBe(true)
  const again = begin()
  held.replace(again.next, again.mark, { isQuiet: true })
  expect(held.isSettled).toBe(true)
  expect(places()).toHaveLength(1)
})

test.each([true, false])(
  'at rest nothing is left but one reader, also when that comes amid a trial',
  (isExact) => {
    commit()
    const { next, mark } = begin()
    held.replace(next, { ...mark, isExact }, { isQuiet: true })
    held.rest()
    expect(held.isSettled).toBe(true)
    expect(places()).toHaveLength(1)
    expect(vi.getTimerCount()).toBe(0)
    expect(checkpoint('FULL')).toEqual({ busy: 0, log: 3, checkpointed: 3 })
  },
)
