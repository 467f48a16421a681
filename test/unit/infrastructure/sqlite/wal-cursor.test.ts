import fc from 'fast-check'
import assert from 'node:assert'
import { describe, expect, test } from 'vitest'
import {
  formatWalHeader,
  frameBytes,
  parseWalHeader,
  resaltFrames,
  type Salts,
  verifyFrames,
  walHeaderBytes,
} from '../../../../src/domain/wal/wal-format.js'
import { WalCursor } from '../../../../src/infrastructure/sqlite/wal-cursor.js'
import {
  type CaptureCursor,
  type CapturedRun,
} from '../../../../src/usecase/ports/managed-database.js'

const pageSizeBytes = 512
const step = frameBytes(pageSizeBytes)
const timeMs = 1_700_000_000_000

/** A log of transactions of so many pages each, as SQLite would write it. */
function logOf(transactions: readonly number[], salts: Salts, checkpointSequence = 0): Uint8Array {
  const header = formatWalHeader({ pageSizeBytes, checkpointSequence, salts, bigEndian: false })
  const frameCount = transactions.reduce((a, b) => a + b, 0)
  const frames = new Uint8Array(frameCount * step)
  const data = new DataView(frames.buffer)
  let frame = 0
  for (const pages of transactions) {
    for (let page = 1; page <= pages; page += 1, frame += 1) {
      data.setUint32(frame * step, page)
      if (page === pages) data.setUint32(frame * step + 4, 1 + frame)
      frames.fill(frame % 251, frame * step + 24, (frame + 1) * step)
    }
  }
  const parsed = parseWalHeader(header)
  assert(parsed.ok)
  const { checksum } = parsed.header
  resaltFrames(frames, { pageSizeBytes, bigEndian: false, salts, checksum })
  return Buffer.concat([header, frames])
}

/** A log in memory, in the place of the file. */
class Log {
  bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get header(): Uint8Array {
    return this.bytes.subarray(0, walHeaderBytes)
  }

  get state(): { frameCount: number; copiedBackCount: number } {
    return { frameCount: (this.bytes.length - walHeaderBytes) / step, copiedBackCount: 0 }
  }

  readInto(bytes: Uint8Array, offset: number): number {
    const found = this.bytes.subarray(offset, offset + bytes.length)
    bytes.set(found)
    return found.length
  }

  read(offset: number, length: number): Uint8Array {
    return this.bytes.slice(offset, offset + length)
  }
}

function captureAll(cursor: WalCursor, log: Log, maxBytes: number): CapturedRun[] {
  const target = cursor.advanceTo(log.header, log.state, { firstFrameCount: 0 })
  assert(typeof target === 'number', JSON.stringify(target))
  const runs: CapturedRun[] = []
  while ((cursor.offset ?? target) < target) {
    const run = cursor.readRun({ targetOffset: target, timeMs }, maxBytes)
    assert(!('kind' in run), JSON.stringify(run))
    runs.push(run)
  }
  return runs
}

/** What a later process knows of where an earlier one ended. */
function cursorAfter(run: CapturedRun): CaptureCursor {
  const { end, salts, checksumAfter, bigEndian, source } = run
  return { position: end, salts, checksum: checksumAfter, pageSizeBytes, bigEndian, source }
}

const transactions = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 12 })
const word = fc.integer({ min: 0, max: 0xffff_ffff })
const salts = fc.record({ salt1: word, salt2: word })

describe('a cursor in a log', () => {
  test('reads it in any pieces, which end at commits where they can, and follow each other', () => {
    fc.assert(
      fc.property(transactions, salts, fc.integer({ min: 1, max: 5000 }), (sizes, salt, bytes) => {
        const log = new Log(logOf(sizes, salt))
        const cursor = new WalCursor({ wal: log, pageSizeBytes, rollBytes: 1e9 })
        const runs = captureAll(cursor, log, bytes)
        expect(Buffer.concat(runs.map((run) => run.bytes))).toEqual(Buffer.from(log.bytes))
        let before = runs[0]!.checksumBefore
        for (const run of runs) {
          expect(run.checksumBefore).toEqual(before)
          expect(run.source).toBeUndefined()
          before = run.checksumAfter
        }
        expect(cursor.isAtCommit).toBe(true)
        expect(cursor.frameCount).toBe(log.state.frameCount)
      }),
      { numRuns: 200 },
    )
  })

  test('rolled into indexes of its own, each is a log that SQLite would take', () => {
    fc.assert(
      fc.property(transactions, salts, fc.integer({ min: 1, max: 4000 }), (sizes, salt, roll) => {
        const log = new Log(logOf(sizes, salt))
        const cursor = new WalCursor({ wal: log, pageSizeBytes, rollBytes: roll })
        const runs = captureAll(cursor, log, 2000)
        const indexes = new Set(runs.map(({ start }) => start.index))
        for (const index of indexes) {
          const indexRuns = runs.filter(({ start }) => start.index === index)
          const bytes = Buffer.concat(indexRuns.map((run) => run.bytes))
          const header = parseWalHeader(bytes.subarray(0, walHeaderBytes))
          assert(header.ok)
          const verified = verifyFrames(bytes.subarray(walHeaderBytes), header.header)
          expect(verified.frameCount * step).toBe(bytes.length - walHeaderBytes)
          expect(verified.committedFrameCount).toBe(verified.frameCount)
          expect(verified.checksum).toEqual(indexRuns.at(-1)!.checksumAfter)
        }
        const firsts = runs.filter(({ start }) => start.offset === 0 && start.index > 0)
        for (const first of firsts) {
          const last = runs.findLast(({ end }) => end.index === first.start.index - 1)!
          const { offset } = last.end
          expect(first.previousIndexEnd).toEqual({ offset, checksum: last.checksumAfter })
        }
        expect(runs.reduce((sum, run) => sum + run.bytes.length, 0)).toBe(
          log.bytes.length + firsts.length * walHeaderBytes,
        )
      }),
      { numRuns: 200 },
    )
  })

  test('goes on where another one ended, rolled or not, and only in the very same log', () => {
    fc.assert(
      fc.property(
        transactions,
        transactions,
        fc.constantFrom(1, 1e9),
        fc.nat(),
        (first, rest, rollBytes, pick) => {
          const salt = { salt1: 1, salt2: 2 }
          const whole = logOf([...first, ...rest], salt)
          const log = new Log(whole.slice(0, logOf(first, salt).length))
          const options = { wal: log, pageSizeBytes, rollBytes }
          const before = captureAll(new WalCursor(options), log, 3000)
          log.bytes = whole
          const next = new WalCursor(options)
          const last = before.at(-1)!
          expect(next.resume(cursorAfter(last), log.header, log.state)).toEqual({
            kind: 'continuous',
          })
          const after = captureAll(next, log, 3000)
          expect(after[0]!.start.index).toBe(last.end.index + (rollBytes === 1 ? 1 : 0))
          expect(
            [...before, ...after].flatMap(({ bytes, start }) => [
              ...bytes.subarray(start.offset === 0 ? walHeaderBytes : 0),
            ]).length,
          ).toBe(whole.length - walHeaderBytes)

          // One byte of what was captured is another one now.
          const captured = logOf(first, salt).length - walHeaderBytes
          log.bytes = whole.slice()
          const at = walHeaderBytes + (pick % captured)
          log.bytes[at] = log.bytes[at]! ^ 0x40
          const other = new WalCursor(options)
          expect(other.resume(cursorAfter(last), log.header, log.state)).toMatchObject({
            kind: 'broken',
            reason: 'wal overwritten by another process',
          })
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('what is broken is said', () => {
  const salt = { salt1: 7, salt2: 9 }
  const begin = (): { log: Log; cursor: WalCursor } => {
    const log = new Log(logOf([2, 3], salt))
    const cursor = new WalCursor({ wal: log, pageSizeBytes, rollBytes: 1e9 })
    captureAll(cursor, log, 1e6)
    return { log, cursor }
  }

  test('a log that SQLite has cut behind us', () => {
    const { log, cursor } = begin()
    log.bytes = logOf([2], salt)
    expect(cursor.advanceTo(log.header, log.state, { firstFrameCount: 0 })).toMatchObject({
      kind: 'broken',
      reason: 'wal truncated by another process',
    })
  })

  test('a frame that is published and does not follow', () => {
    const { log, cursor } = begin()
    log.bytes = logOf([2, 3, 2], salt)
    log.bytes[log.bytes.length - 1]! ^= 1
    const target = cursor.advanceTo(log.header, log.state, { firstFrameCount: 0 })
    assert(typeof target === 'number')
    expect(cursor.readRun({ targetOffset: target, timeMs }, 1e6)).toMatchObject({
      kind: 'broken',
      reason: 'wal overwritten by another process',
    })
  })

  test('the last frame, changed under the same salts', () => {
    const { log, cursor } = begin()
    expect(cursor.isOf(log.header) && cursor.isLastFrameThere()).toBe(true)
    log.bytes = logOf([2, 3], salt)
    log.bytes[cursor.lastFrameOffset + 18]! ^= 1
    expect(cursor.isOf(log.header)).toBe(true)
    expect(cursor.isLastFrameThere()).toBe(false)
  })

  test('a restart is a new index that names the end of the one before', () => {
    const { log, cursor } = begin()
    const end = log.bytes.length
    log.bytes = logOf([1], { salt1: 8, salt2: 4 }, 1)
    const [run] = captureAll(cursor, log, 1e6)
    expect(run).toMatchObject({ start: { index: 1, offset: 0 }, previousIndexEnd: { offset: end } })
    expect(cursor.formerFrameCount).toBe(5)
    expect(cursor.frameCount).toBe(1)
  })
})

test('what is all copied back is in the file already, and the index begins when the log is restarted', () => {
  const log = new Log(logOf([2, 3], { salt1: 1, salt2: 2 }))
  const cursor = new WalCursor({ wal: log, pageSizeBytes, rollBytes: 1e9 })
  const allCopied = { frameCount: 5, copiedBackCount: 5 }
  // Whatever was written over the file since, SQLite shows that, and not these frames.
  expect(cursor.advanceTo(log.header, allCopied, { firstFrameCount: 5 })).toBe(0)
  log.bytes = logOf([1], { salt1: 2, salt2: 7 }, 1)
  const [run] = captureAll(cursor, log, 1e6)
  expect(run).toMatchObject({ start: { index: 0, offset: 0 }, previousIndexEnd: undefined })
})
