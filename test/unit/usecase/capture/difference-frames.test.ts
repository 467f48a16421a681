import { describe, expect, test } from 'vitest'
import {
  checksumBytes,
  formatWalHeader,
  frameBytes,
  parseWalHeader,
  resaltFrames,
  verifyFrames,
} from '../../../../src/domain/wal/wal-format.js'
import { type CapturedRun } from '../../../../src/usecase/ports/managed-database.js'
import { DifferenceFrames } from '../../../../src/usecase/capture/difference-frames.js'

const pageSizeBytes = 512
const stepBytes = frameBytes(pageSizeBytes)
const previousIndexEnd = { offset: 1104, checksum: { s0: 1, s1: 2 } }

const page = (version: number): Uint8Array => new Uint8Array(pageSizeBytes).fill(version)

/** Committed frames of one page each, as they are captured from SQLite's own WAL. */
function captured(pages: readonly number[], version: number): CapturedRun {
  const salts = { salt1: 7, salt2: 8 }
  const header = formatWalHeader({ pageSizeBytes, checkpointSequence: 0, salts, bigEndian: false })
  const bytes = new Uint8Array(header.length + pages.length * stepBytes)
  bytes.set(header)
  const data = new DataView(bytes.buffer)
  pages.forEach((number, i) => {
    const at = header.length + i * stepBytes
    data.setUint32(at, number)
    data.setUint32(at + 4, 9)
    bytes.set(page(version), at + 24)
  })
  const start = checksumBytes(header.subarray(0, 24), { s0: 0, s1: 0 }, false)
  const context = { pageSizeBytes, bigEndian: false, salts, checksum: start }
  const checksumAfter = resaltFrames(bytes.subarray(header.length), context)
  return {
    ...{ bytes, pageSizeBytes, bigEndian: false, salts, checksumAfter, checksumBefore: start },
    start: { index: 0, offset: 0 },
    end: { index: 0, offset: bytes.length },
    databaseSizePages: 9,
    timeMs: 5,
    previousIndexEnd: undefined,
    source: undefined,
  }
}

function begin(): DifferenceFrames {
  const salts = { salt1: 3, salt2: 4 }
  return new DifferenceFrames({ pageSizeBytes, index: 5, salts, previousIndexEnd })
}

describe('the frames of a difference', () => {
  test('are one transaction: only the last of them commits', () => {
    const frames = begin()
    const runs = [
      frames.addPages([
        { page: 3, content: page(1) },
        { page: 4, content: page(2) },
      ]),
      frames.addCaptured(captured([6, 4], 3)),
      frames.addPages([{ page: 8, content: page(4) }]),
    ].filter((run) => run !== undefined)
    const { index, run } = frames.end(9)
    const wal = Buffer.concat([...runs, run].map(({ bytes }) => bytes))
    const parsed = parseWalHeader(wal)
    if (!parsed.ok) throw new Error(parsed.problem)
    const body = Buffer.from(wal.subarray(32))
    const verified = verifyFrames(body, parsed.header)
    expect(verified).toMatchObject({ frameCount: 5, committedFrameCount: 5, databaseSizePages: 9 })
    const numbers = Array.from({ length: 5 }, (_, i) => body.readUInt32BE(i * stepBytes))
    const sizes = Array.from({ length: 5 }, (_, i) => body.readUInt32BE(i * stepBytes + 4))
    expect(numbers).toEqual([3, 4, 6, 4, 8])
    expect(sizes).toEqual([0, 0, 0, 0, 9])
    expect(index).toEqual({
      position: { index: 5, offset: wal.length },
      bigEndian: false,
      salts: { salt1: 3, salt2: 4 },
      checksum: verified.checksum,
    })
    expect([...runs, run].map((each) => each.previousIndexEnd)).toEqual([
      previousIndexEnd,
      undefined,
      undefined,
      undefined,
    ])
  })

  test('have no page as the file shows it, once a captured frame has it', () => {
    const frames = begin()
    frames.addCaptured(captured([6, 2], 3))
    expect([1, 2, 3, 6, 7].filter((number) => frames.isWanted(number))).toEqual([1, 3, 7])
  })

  test('tile, and each run continues the one before', () => {
    const frames = begin()
    const runs = [1, 2, 3, 4].map((number) =>
      frames.addPages([{ page: number, content: page(number) }]),
    )
    expect(runs[0]).toBeUndefined()
    const all = [...runs.filter((run) => run !== undefined), frames.end(4).run]
    all.slice(1).forEach((run, i) => {
      expect(run.start).toEqual(all[i]?.end)
      expect(run.checksumBefore).toEqual(all[i]?.checksumAfter)
    })
  })
})
