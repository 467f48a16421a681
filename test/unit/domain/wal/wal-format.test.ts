import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Checksum,
  checksumBeforeFrame,
  checksumBytes,
  formatWalHeader,
  frameBytes,
  type FrameContext,
  offsetAfterFrames,
  parseWalHeader,
  readSalts,
  resaltFrames,
  unwindChecksum,
  verifyFrames,
  type WalHeader,
} from '../../../../src/domain/wal/wal-format.js'

const word = fc.integer({ min: 0, max: 0xffff_ffff })
const checksum = fc.record({ s0: word, s1: word })
const salts = fc.record({ salt1: word, salt2: word })
const pageSizeBytes = fc.integer({ min: 9, max: 16 }).map((bits) => 2 ** bits)
const header = fc.record({
  pageSizeBytes,
  checkpointSequence: word,
  salts,
  bigEndian: fc.boolean(),
})
/** Bytes of whole pairs of words, at any alignment in their buffer. */
const pairs = fc
  .tuple(fc.uint8Array({ maxLength: 256 }), fc.integer({ min: 0, max: 7 }))
  .map(([bytes, shift]) => {
    const length = bytes.length - (bytes.length % 8)
    const shifted = new Uint8Array(length + shift)
    shifted.set(bytes.subarray(0, length), shift)
    return shifted.subarray(shift)
  })

/** The checksum as SQLite's documentation states it, in big integers. */
function plainChecksum(bytes: Uint8Array, start: Checksum, bigEndian: boolean): Checksum {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let s0 = BigInt(start.s0)
  let s1 = BigInt(start.s1)
  for (let i = 0; i < bytes.length; i += 8) {
    s0 = BigInt.asUintN(32, s0 + BigInt(data.getUint32(i, !bigEndian)) + s1)
    s1 = BigInt.asUintN(32, s1 + BigInt(data.getUint32(i + 4, !bigEndian)) + s0)
  }
  return { s0: Number(s0), s1: Number(s1) }
}

interface Frames {
  readonly header: WalHeader
  readonly context: FrameContext
  readonly bytes: Uint8Array
  readonly commits: readonly number[]
  /** The running checksum behind each frame. */
  readonly checksums: readonly Checksum[]
}

/** A header's chain of frames, built without the code under test. */
const frames = fc
  .record({
    header,
    commits: fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 0xffff_ffff })), {
      minLength: 1,
      maxLength: 5,
    }),
    seed: fc.uint8Array({ minLength: 16, maxLength: 16 }),
    shift: fc.integer({ min: 0, max: 7 }),
  })
  .map(({ header: fields, commits, seed, shift }): Frames => {
    const parsed = parseWalHeader(formatWalHeader(fields))
    if (!parsed.ok) throw new Error(parsed.problem)
    const step = frameBytes(fields.pageSizeBytes)
    const bytes = new Uint8Array(shift + step * commits.length).subarray(shift)
    const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const checksums: Checksum[] = []
    let running = parsed.header.checksum
    commits.forEach((commit, i) => {
      const at = i * step
      data.setUint32(at, i + 1)
      data.setUint32(at + 4, commit)
      data.setUint32(at + 8, fields.salts.salt1)
      data.setUint32(at + 12, fields.salts.salt2)
      for (let j = 24; j < step; j += 1) bytes[at + j] = seed[(j * 7 + i) % 16]! + (j >> 4)
      running = plainChecksum(bytes.subarray(at, at + 8), running, fields.bigEndian)
      running = plainChecksum(bytes.subarray(at + 24, at + step), running, fields.bigEndian)
      data.setUint32(at + 16, running.s0)
      data.setUint32(at + 20, running.s1)
      checksums.push(running)
    })
    const { salts: s, checksum: c } = parsed.header
    const context = {
      pageSizeBytes: fields.pageSizeBytes,
      bigEndian: fields.bigEndian,
      salts: s,
      checksum: c,
    }
    return { header: parsed.header, context, bytes, commits, checksums }
  })

const few = { numRuns: 60 }

describe('wal header', () => {
  test('is read back, and any flip is noticed', () => {
    fc.assert(
      fc.property(header, fc.nat({ max: 31 }), fc.integer({ min: 1, max: 255 }), (h, at, flip) => {
        const bytes = formatWalHeader(h)
        expect(parseWalHeader(bytes)).toMatchObject({ ok: true, header: h })
        expect(readSalts(bytes)).toEqual(h.salts)
        bytes[at] = bytes[at]! ^ flip
        expect(parseWalHeader(bytes).ok).toBe(false)
      }),
    )
    expect(parseWalHeader(new Uint8Array(31)).ok).toBe(false)
  })
})

describe('checksum', () => {
  test('is SQLite’s, at any alignment and in pieces', () => {
    fc.assert(
      fc.property(pairs, checksum, fc.boolean(), fc.nat(), (bytes, start, bigEndian, cut) => {
        const whole = checksumBytes(bytes, start, bigEndian)
        expect(whole).toEqual(plainChecksum(bytes, start, bigEndian))
        const at = (cut % (bytes.length / 8 + 1)) * 8
        const half = checksumBytes(bytes.subarray(0, at), start, bigEndian)
        expect(checksumBytes(bytes.subarray(at), half, bigEndian)).toEqual(whole)
      }),
    )
  })

  test('can be unwound', () => {
    fc.assert(
      fc.property(pairs, checksum, fc.boolean(), (bytes, start, bigEndian) => {
        const after = checksumBytes(bytes, start, bigEndian)
        expect(unwindChecksum(bytes, after, bigEndian)).toEqual(start)
      }),
    )
  })
})

describe('frames', () => {
  test('are verified up to the last commit', () => {
    fc.assert(
      fc.property(frames, ({ bytes, context, commits, checksums }) => {
        const committed = commits.findLastIndex((commit) => commit !== 0) + 1
        expect(verifyFrames(bytes, context)).toEqual({
          frameCount: commits.length,
          checksum: checksums.at(-1),
          committedFrameCount: committed,
          committedChecksum: committed === 0 ? context.checksum : checksums[committed - 1],
          databaseSizePages: committed === 0 ? 0 : commits[committed - 1],
        })
        expect(checksumBeforeFrame(bytes, context)).toEqual(context.checksum)
      }),
      few,
    )
  })

  test('can be verified from any of them on; a partial one at the end is ignored', () => {
    fc.assert(
      fc.property(frames, fc.nat(), fc.nat(), (made, from, cut) => {
        const { bytes, context, commits, checksums } = made
        const step = frameBytes(context.pageSizeBytes)
        const first = from % commits.length
        const rest = bytes.subarray(first * step)
        const start = first === 0 ? context.checksum : checksums[first - 1]!
        expect(checksumBeforeFrame(rest, context)).toEqual(start)
        const partial = rest.subarray(0, rest.length - 1 - (cut % (step - 1)))
        expect(verifyFrames(partial, { ...context, checksum: start }).frameCount).toBe(
          commits.length - first - 1,
        )
      }),
      few,
    )
  })

  test('from the one with a flipped byte on are refused', () => {
    fc.assert(
      fc.property(frames, fc.nat(), fc.integer({ min: 1, max: 255 }), (made, at, flip) => {
        const { bytes, context } = made
        const place = at % bytes.length
        bytes[place] = bytes[place]! ^ flip
        expect(verifyFrames(bytes, context).frameCount).toBe(
          Math.floor(place / frameBytes(context.pageSizeBytes)),
        )
      }),
      few,
    )
  })

  test('with other salts are a valid chain of the same pages', () => {
    fc.assert(
      fc.property(frames, salts, checksum, (made, otherSalts, start) => {
        const { bytes, context, commits } = made
        const before = bytes.slice()
        const other = { ...context, salts: otherSalts, checksum: start }
        const after = resaltFrames(bytes, other)
        const verified = verifyFrames(bytes, other)
        expect(verified.frameCount).toBe(commits.length)
        expect(verified.checksum).toEqual(after)
        const step = frameBytes(context.pageSizeBytes)
        commits.forEach((_, i) => {
          const at = i * step
          for (const [from, to] of [
            [at, at + 8],
            [at + 24, at + step],
          ] as const) {
            expect(Buffer.compare(bytes.subarray(from, to), before.subarray(from, to))).toBe(0)
          }
        })
        expect(resaltFrames(bytes, context)).toEqual(made.checksums.at(-1))
        expect(Buffer.compare(bytes, before)).toBe(0)
      }),
      few,
    )
  })

  test('frames follow the header, each with its page', () => {
    expect(offsetAfterFrames(0, 512)).toBe(32)
    expect(offsetAfterFrames(3, 512)).toBe(32 + 3 * (24 + 512))
  })
})
