import Database from 'better-sqlite3'
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseGeneration } from '../../src/domain/wal/generation.js'
import { formatObjectPath } from '../../src/domain/stored/replica-layout.js'
import { parseWalHeader, verifyFrames } from '../../src/domain/wal/wal-format.js'
import { createLz4Compressor } from '../../src/infrastructure/lz4/frame-encoder.js'
import { WalCapture } from '../../src/infrastructure/sqlite/wal-capture.js'
import { type CapturedRun } from '../../src/usecase/ports/managed-database.js'

const litestream = path.resolve('node_modules/@flydotio/litestream-linux-x64/litestream')

async function frameOf(content: Uint8Array): Promise<Buffer> {
  const encoder = (await createLz4Compressor()).startFrame()
  const parts = [encoder.header()]
  for (let at = 0; at < content.length; at += 4 * 1024 * 1024) {
    parts.push(encoder.block(content.subarray(at, at + 4 * 1024 * 1024)))
  }
  return Buffer.concat([...parts, encoder.end()])
}

const generation = parseGeneration('00112233445566aa')!

async function store(
  replica: string,
  ref: Parameters<typeof formatObjectPath>[0],
  content: Uint8Array,
): Promise<void> {
  const target = path.join(replica, formatObjectPath(ref))
  mkdirSync(path.dirname(target), { recursive: true })
  writeFileSync(target, await frameOf(content))
}

function indexesOf(runs: readonly CapturedRun[]): Map<number, CapturedRun[]> {
  const indexes = new Map<number, CapturedRun[]>()
  for (const run of runs) {
    indexes.set(run.start.index, [...(indexes.get(run.start.index) ?? []), run])
  }
  return indexes
}

/** Frames of the WAL as SQLite would restore them: the file after a truncating checkpoint. */
function checkpointed(file: string): Buffer {
  const database = new Database(file)
  database.pragma('wal_checkpoint(TRUNCATE)')
  database.close()
  return readFileSync(file)
}

describe('an index that grows past the bound under one WAL of SQLite', () => {
  let folder: string
  beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), 'tsreplicate-roll-'))))
  afterEach(() => rmSync(folder, { recursive: true, force: true }))

  it.each([512, 4096])(
    'is split into indexes of ours that Litestream 0.3.13 restores byte for byte (page size %i)',
    async (pageSizeBytes) => {
      const file = path.join(folder, 'app.db')
      const writer = new Database(file)
      writer.pragma(`page_size = ${pageSizeBytes}`)
      writer.pragma('journal_mode = wal')
      writer.pragma('wal_autocheckpoint = 0')
      writer.exec('create table t (n integer primary key, text text)')
      const snapshot = path.join(folder, 'snapshot.db')

      const capture = new WalCapture(file, { rollBytes: 64 * 1024 })
      const opened = capture.open()
      expect(opened?.pageSizeBytes).toBe(pageSizeBytes)
      copyFileSync(file, snapshot)
      expect(capture.begin(undefined)).toEqual({ kind: 'continuous' })

      const runs: CapturedRun[] = []
      const drain = (): void => {
        for (;;) {
          const result = capture.capture(32 * 1024)
          expect(result.continuity).toEqual({ kind: 'continuous' })
          runs.push(...result.runs)
          if (!result.more) return
        }
      }
      const insert = writer.prepare('insert into t (text) values (?)')
      for (let n = 0; n < 300; n += 1) {
        insert.run(String(n).repeat(300))
        if (n % 7 === 0) drain()
      }
      writer.exec('delete from t where n % 3 = 0')
      drain()

      const indexes = indexesOf(runs)
      expect(indexes.size).toBeGreaterThan(3)

      const replica = path.join(folder, 'replica')
      await store(replica, { kind: 'snapshot', generation, index: 0 }, readFileSync(snapshot))
      for (const [index, parts] of indexes) {
        const wal = Buffer.concat(parts.map((run) => run.bytes))
        const header = parseWalHeader(wal)
        if (!header.ok) throw new Error(header.problem)
        const frames = wal.subarray(32)
        const verified = verifyFrames(Buffer.from(frames), { ...header.header })
        expect(verified.committedFrameCount * (pageSizeBytes + 24)).toBe(frames.length)
        await store(replica, { kind: 'wal-segment', generation, index, offset: 0 }, wal)
        const before = indexes.get(index - 1)?.at(-1)
        if (before !== undefined) {
          expect(parts[0]?.previousIndexEnd).toEqual({
            offset: before.end.offset,
            checksum: before.checksumAfter,
          })
        }
      }
      const output = path.join(folder, 'restored.db')
      execFileSync(litestream, ['restore', '-o', output, `file://${replica}`], { stdio: 'pipe' })
      capture.close()
      writer.close()
      expect(readFileSync(output).equals(checkpointed(file))).toBe(true)
    },
  )

  it('is captured in runs that end at a commit wherever one is among their frames', () => {
    const file = path.join(folder, 'app.db')
    const writer = new Database(file)
    writer.pragma('journal_mode = wal')
    writer.pragma('wal_autocheckpoint = 0')
    writer.exec('create table t (n integer primary key, text text)')
    const capture = new WalCapture(file)
    capture.open()
    capture.begin(undefined)
    const maxBytes = 64 * 1024
    const commitBytes = 20_000
    const insert = writer.prepare('insert into t (text) values (?)')
    for (let n = 0; n < 100; n += 1) {
      // Now and then one that is larger than all that is asked for.
      insert.run('x'.repeat(n % 10 === 5 ? 200_000 : commitBytes))
    }
    const runs: CapturedRun[] = []
    let isMore = true
    while (isMore) {
      const result = capture.capture(maxBytes)
      expect(result.continuity).toEqual({ kind: 'continuous' })
      runs.push(...result.runs)
      isMore = result.more
    }
    capture.close()
    writer.close()
    for (const [i, run] of runs.entries()) {
      expect(run.start).toEqual(runs[i - 1]?.end ?? { index: 0, offset: 0 })
      expect(run.bytes.length).toBe(run.end.offset - run.start.offset)
      const frames = Buffer.from(run.start.offset === 0 ? run.bytes.subarray(32) : run.bytes)
      const { pageSizeBytes, bigEndian, salts, checksumBefore: checksum } = run
      const verified = verifyFrames(frames, { pageSizeBytes, bigEndian, salts, checksum })
      const frameCount = frames.length / (pageSizeBytes + 24)
      expect(verified).toMatchObject({ frameCount, checksum: run.checksumAfter })
      expect([0, frameCount]).toContain(verified.committedFrameCount)
      expect(run.databaseSizePages > 0).toBe(verified.committedFrameCount > 0)
    }
    // A segment need never be much longer than its bound, but for a transaction that is.
    const ends = runs.filter((run) => run.databaseSizePages > 0).map((run) => run.end.offset)
    for (const [i, end] of ends.entries()) {
      expect(end - (ends[i - 1] ?? 0)).toBeLessThan(maxBytes + 2 * 205_000)
    }
    expect(ends.length).toBeGreaterThan(30)
  })

  it('goes on in its own salts after a restart of the daemon', () => {
    const file = path.join(folder, 'app.db')
    const writer = new Database(file)
    writer.pragma('journal_mode = wal')
    writer.pragma('wal_autocheckpoint = 0')
    writer.exec('create table t (n integer primary key, text text)')
    const first = new WalCapture(file, { rollBytes: 16 * 1024 })
    first.open()
    first.begin(undefined)
    first.capture(1 << 20)
    for (let n = 0; n < 20; n += 1) writer.prepare('insert into t (text) values (?)').run('x')
    const last = first.capture(1 << 20).runs.at(-1)!
    writer.prepare('insert into t (text) values (?)').run('x')
    const rolled = first.capture(1 << 20).runs.at(-1) ?? last
    expect(rolled.source).toBeDefined()

    const second = new WalCapture(file, { rollBytes: 16 * 1024 })
    second.open()
    const verdict = second.begin({
      position: rolled.end,
      pageSizeBytes: rolled.pageSizeBytes,
      bigEndian: rolled.bigEndian,
      salts: rolled.salts,
      checksum: rolled.checksumAfter,
      source: rolled.source,
    })
    expect(verdict).toEqual({ kind: 'continuous' })
    writer.prepare('insert into t (text) values (?)').run('x')
    const next = second.capture(1 << 20).runs
    expect(next[0]?.start).toEqual(rolled.end)
    expect(next[0]?.salts).toEqual(rolled.salts)
    first.close()
    second.close()
    writer.close()
  })

  it.each([1, 2, 3, 4])(
    'goes on after crashes at any distance from where it was rolled, whatever was spooled (%i)',
    async (seed) => {
      let state = seed
      const pick = (below: number): number => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
        return Math.floor((state / 4_294_967_296) * below)
      }
      const file = path.join(folder, 'app.db')
      const writer = new Database(file)
      writer.pragma('journal_mode = wal')
      writer.pragma('wal_autocheckpoint = 0')
      writer.exec('create table t (n integer primary key, text text)')
      const write = (count: number): void => {
        for (; count > 0; count -= 1) {
          writer.prepare('insert into t (text) values (?)').run('x'.repeat(pick(6000)))
        }
      }
      const snapshot = readFileSync(file)
      const spooled: CapturedRun[] = []
      for (let life = 0; life < 60; life += 1) {
        const capture = new WalCapture(file, { rollBytes: 24 * 1024 })
        capture.open()
        const last = spooled.at(-1)
        const verdict = capture.begin(
          last === undefined
            ? undefined
            : {
                position: last.end,
                pageSizeBytes: last.pageSizeBytes,
                bigEndian: last.bigEndian,
                salts: last.salts,
                checksum: last.checksumAfter,
                source: last.source,
              },
        )
        expect(verdict).toEqual({ kind: 'continuous' })
        const captured: CapturedRun[] = []
        const drain = (): void => {
          const { runs, continuity, more } = capture.capture(1 << 24)
          expect({ continuity, more }).toEqual({ continuity: { kind: 'continuous' }, more: false })
          captured.push(...runs)
        }
        for (let round = pick(4); round > 0; round -= 1) {
          drain()
          write(pick(3))
        }
        drain()
        // What was captured and not spooled is lost with the process.
        spooled.push(...captured.splice(0, pick(2) === 0 ? captured.length : pick(3)))
        if (captured.length === 0 && pick(3) === 0) {
          writer.pragma('wal_checkpoint(PASSIVE)')
          drain()
          write(2)
          drain()
          spooled.push(...captured)
        }
        capture.close()
        write(pick(3))
      }
      const capture = new WalCapture(file, { rollBytes: 24 * 1024 })
      capture.open()
      const last = spooled.at(-1)!
      capture.begin({ ...last, position: last.end, checksum: last.checksumAfter })
      spooled.push(...capture.capture(1 << 24).runs)
      const indexes = indexesOf(spooled)
      expect(indexes.size).toBeGreaterThan(10)
      const replica = path.join(folder, 'replica')
      await store(replica, { kind: 'snapshot', generation, index: 0 }, snapshot)
      for (const [index, parts] of indexes) {
        const wal = Buffer.concat(parts.map((run) => run.bytes))
        await store(replica, { kind: 'wal-segment', generation, index, offset: 0 }, wal)
        const before = indexes.get(index - 1)?.at(-1)
        if (before === undefined) continue
        const { end, checksumAfter } = before
        expect(parts[0]?.previousIndexEnd).toEqual({ offset: end.offset, checksum: checksumAfter })
      }
      const output = path.join(folder, 'restored.db')
      execFileSync(litestream, ['restore', '-o', output, `file://${replica}`], { stdio: 'pipe' })
      capture.close()
      writer.close()
      expect(readFileSync(output).equals(checkpointed(file))).toBe(true)
    },
  )
})
