/**
 * SQLite's WAL, byte by byte (its `src/wal.c`); all fields are big-endian.
 *
 * Header, 32 bytes: 0 magic 0x377f0682 (checksums over little-endian words) or 0x377f0683 (big-endian) · 4 version
 * 3007000 · 8 page size · 12 checkpoint sequence · 16 salt-1 · 20 salt-2 · 24 checksum of bytes 0..23 (two words).
 *
 * Then frames of 24 + page-size bytes: 0 page number · 4 database size in pages if the frame commits, else 0 · 8 salts
 * of the header · 16 running checksum (two words) over bytes 0..7 of the frame's header and its page, continued from
 * the frame before, the first one from the header's.
 *
 * The checksum step over consecutive words x, y is `s0 += x + s1; s1 += y + s0` modulo 2^32. It can be run backwards,
 * so a run of frames is verified without knowing what came before, and tells what must have come before.
 */

export const walHeaderBytes = 32
export const frameHeaderBytes = 24
const walVersion = 3007000
const magicLittleEndian = 0x377f0682
const magicBigEndian = 0x377f0683

/** The two words of a running checksum, unsigned. */
export interface Checksum {
  readonly s0: number
  readonly s1: number
}

/** The two words that tell one incarnation of a WAL from another, unsigned. */
export interface Salts {
  readonly salt1: number
  readonly salt2: number
}

export interface WalHeader {
  readonly pageSizeBytes: number
  readonly checkpointSequence: number
  readonly salts: Salts
  /** Whether the checksums run over big-endian words. */
  readonly bigEndian: boolean
  /** The checksum of the header, which the first frame continues. */
  readonly checksum: Checksum
}

export function sameChecksum(a: Checksum, b: Checksum): boolean {
  return a.s0 === b.s0 && a.s1 === b.s1
}

export function sameSalts(a: Salts, b: Salts): boolean {
  return a.salt1 === b.salt1 && a.salt2 === b.salt2
}

export function formatSalts(salts: Salts): string {
  const hex = (word: number): string => word.toString(16).padStart(8, '0')
  return `${hex(salts.salt1)}${hex(salts.salt2)}`
}

export function frameBytes(pageSizeBytes: number): number {
  return frameHeaderBytes + pageSizeBytes
}

/** The offset behind `frameCount` frames. */
export function offsetAfterFrames(frameCount: number, pageSizeBytes: number): number {
  return walHeaderBytes + frameCount * frameBytes(pageSizeBytes)
}

export function isPageSize(bytes: number): boolean {
  return bytes >= 512 && bytes <= 65536 && (bytes & (bytes - 1)) === 0
}

/** How a database begins. */
const databaseMagic = Uint8Array.from('SQLite format 3\0', (letter) => letter.charCodeAt(0))

/** The page size that a database states where it begins: 2 bytes, of which 1 means 65,536. Undefined: it is no database. */
export function databasePageSize(start: Uint8Array): number | undefined {
  if (databaseMagic.some((byte, at) => start[at] !== byte)) return undefined
  const stated = ((start[16] ?? 0) << 8) | (start[17] ?? 0)
  const pageSizeBytes = stated === 1 ? 65_536 : stated
  return isPageSize(pageSizeBytes) ? pageSizeBytes : undefined
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** The header in the first 32 bytes, or what is wrong with it. */
export function parseWalHeader(
  bytes: Uint8Array,
): { ok: true; header: WalHeader } | { ok: false; problem: string } {
  if (bytes.byteLength < walHeaderBytes) return { ok: false, problem: 'shorter than 32 bytes' }
  const data = view(bytes)
  const magic = data.getUint32(0)
  if (magic !== magicLittleEndian && magic !== magicBigEndian) {
    return { ok: false, problem: `bad magic ${magic.toString(16).padStart(8, '0')}` }
  }
  const version = data.getUint32(4)
  if (version !== walVersion) return { ok: false, problem: `unknown version ${version}` }
  const pageSizeBytes = data.getUint32(8)
  if (!isPageSize(pageSizeBytes)) return { ok: false, problem: `bad page size ${pageSizeBytes}` }
  const bigEndian = magic === magicBigEndian
  const checksum = checksumBytes(bytes.subarray(0, 24), { s0: 0, s1: 0 }, bigEndian)
  const stored = { s0: data.getUint32(24), s1: data.getUint32(28) }
  if (!sameChecksum(checksum, stored)) return { ok: false, problem: 'bad header checksum' }
  return {
    ok: true,
    header: {
      pageSizeBytes,
      checkpointSequence: data.getUint32(12),
      salts: { salt1: data.getUint32(16), salt2: data.getUint32(20) },
      bigEndian,
      checksum,
    },
  }
}

/** The salts in a header, unverified: enough to see whether the WAL has been restarted. */
export function readSalts(headerBytes: Uint8Array): Salts {
  const data = view(headerBytes)
  return { salt1: data.getUint32(16), salt2: data.getUint32(20) }
}

export function formatWalHeader(header: Omit<WalHeader, 'checksum'>): Uint8Array {
  const bytes = new Uint8Array(walHeaderBytes)
  const data = view(bytes)
  data.setUint32(0, header.bigEndian ? magicBigEndian : magicLittleEndian)
  data.setUint32(4, walVersion)
  data.setUint32(8, header.pageSizeBytes)
  data.setUint32(12, header.checkpointSequence)
  data.setUint32(16, header.salts.salt1)
  data.setUint32(20, header.salts.salt2)
  const checksum = checksumBytes(bytes.subarray(0, 24), { s0: 0, s1: 0 }, header.bigEndian)
  data.setUint32(24, checksum.s0)
  data.setUint32(28, checksum.s1)
  return bytes
}

const hostIsLittleEndian = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1

/** Where the running checksum is kept between steps, as signed words: returning it would make an object a frame. */
const state: { s0: number; s1: number } = { s0: 0, s1: 0 }

/**
 * The bytes as words of the order that the checksum wants, if the host can see them so. A typed array is ten times as
 * fast as a DataView here, and this is where the time goes.
 */
function nativeWords(bytes: Uint8Array, bigEndian: boolean): Int32Array | undefined {
  return bigEndian !== hostIsLittleEndian && bytes.byteOffset % 4 === 0
    ? new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2)
    : undefined
}

/** Runs the checksum over pairs of words, in `state`. Four pairs a round: twice as fast as one. */
function runWords(words: Int32Array, from: number, to: number): void {
  let s0 = state.s0
  let s1 = state.s1
  let i = from
  for (; i + 8 <= to; i += 8) {
    s0 = (((s0 + (words[i] ?? 0)) | 0) + s1) | 0
    s1 = (((s1 + (words[i + 1] ?? 0)) | 0) + s0) | 0
    s0 = (((s0 + (words[i + 2] ?? 0)) | 0) + s1) | 0
    s1 = (((s1 + (words[i + 3] ?? 0)) | 0) + s0) | 0
    s0 = (((s0 + (words[i + 4] ?? 0)) | 0) + s1) | 0
    s1 = (((s1 + (words[i + 5] ?? 0)) | 0) + s0) | 0
    s0 = (((s0 + (words[i + 6] ?? 0)) | 0) + s1) | 0
    s1 = (((s1 + (words[i + 7] ?? 0)) | 0) + s0) | 0
  }
  for (; i < to; i += 2) {
    s0 = (s0 + (words[i] ?? 0) + s1) | 0
    s1 = (s1 + (words[i + 1] ?? 0) + s0) | 0
  }
  state.s0 = s0
  state.s1 = s1
}

/** Runs the checksum over whole pairs of words, in `state`. `bytes` is a multiple of 8 long. */
function run(bytes: Uint8Array, bigEndian: boolean): void {
  const words = nativeWords(bytes, bigEndian)
  if (words !== undefined) {
    runWords(words, 0, words.length)
    return
  }
  let s0 = state.s0
  let s1 = state.s1
  const data = view(bytes)
  for (let i = 0; i < bytes.byteLength; i += 8) {
    s0 = (s0 + data.getInt32(i, !bigEndian) + s1) | 0
    s1 = (s1 + data.getInt32(i + 4, !bigEndian) + s0) | 0
  }
  state.s0 = s0
  state.s1 = s1
}

/** Continues a checksum over bytes whose count is a multiple of 8. */
export function checksumBytes(bytes: Uint8Array, start: Checksum, bigEndian: boolean): Checksum {
  state.s0 = start.s0 | 0
  state.s1 = start.s1 | 0
  run(bytes, bigEndian)
  return { s0: state.s0 >>> 0, s1: state.s1 >>> 0 }
}

/** Undoes a checksum over bytes whose count is a multiple of 8: the checksum before them, given the one after. */
export function unwindChecksum(bytes: Uint8Array, after: Checksum, bigEndian: boolean): Checksum {
  const data = view(bytes)
  let s0 = after.s0 | 0
  let s1 = after.s1 | 0
  for (let i = bytes.byteLength - 8; i >= 0; i -= 8) {
    s1 = (s1 - data.getInt32(i + 4, !bigEndian) - s0) | 0
    s0 = (s0 - data.getInt32(i, !bigEndian) - s1) | 0
  }
  return { s0: s0 >>> 0, s1: s1 >>> 0 }
}

/** The checksum before the first frame in `frames`, computed backwards from the one stored in it. */
export function checksumBeforeFrame(
  frame: Uint8Array,
  options: { pageSizeBytes: number; bigEndian: boolean },
): Checksum {
  const data = view(frame)
  const stored = { s0: data.getUint32(16), s1: data.getUint32(20) }
  const page = frame.subarray(frameHeaderBytes, frameBytes(options.pageSizeBytes))
  const behindHeader = unwindChecksum(page, stored, options.bigEndian)
  return unwindChecksum(frame.subarray(0, 8), behindHeader, options.bigEndian)
}

export interface FrameContext {
  readonly pageSizeBytes: number
  readonly bigEndian: boolean
  readonly salts: Salts
  readonly checksum: Checksum
}

export interface VerifiedFrames {
  /** Frames whose salts and checksums continue the chain, from the first on. */
  readonly frameCount: number
  readonly checksum: Checksum
  /** Frames up to and including the last one that commits; 0 if none does. */
  readonly committedFrameCount: number
  /** The running checksum behind the last commit frame; that of the start if there is none. */
  readonly committedChecksum: Checksum
  /** Database size in pages that the last commit frame states; 0 if there is none. */
  readonly databaseSizePages: number
}

/** Verifies the whole frames in `bytes`; what is behind the last whole frame is ignored. */
export function verifyFrames(bytes: Uint8Array, context: FrameContext): VerifiedFrames {
  const { pageSizeBytes, bigEndian, salts } = context
  const stepBytes = frameBytes(pageSizeBytes)
  const data = view(bytes)
  const words = nativeWords(bytes, bigEndian)
  state.s0 = context.checksum.s0 | 0
  state.s1 = context.checksum.s1 | 0
  let frameCount = 0
  let committedFrameCount = 0
  let committedChecksum = context.checksum
  let databaseSizePages = 0
  for (let at = 0; at + stepBytes <= bytes.byteLength; at += stepBytes) {
    if (data.getUint32(at + 8) !== salts.salt1 || data.getUint32(at + 12) !== salts.salt2) break
    const before0 = state.s0
    const before1 = state.s1
    if (words === undefined) {
      run(bytes.subarray(at, at + 8), bigEndian)
      run(bytes.subarray(at + frameHeaderBytes, at + stepBytes), bigEndian)
    } else {
      runWords(words, at >> 2, (at + 8) >> 2)
      runWords(words, (at + frameHeaderBytes) >> 2, (at + stepBytes) >> 2)
    }
    if (data.getInt32(at + 16) !== state.s0 || data.getInt32(at + 20) !== state.s1) {
      state.s0 = before0
      state.s1 = before1
      break
    }
    frameCount += 1
    const commitSizePages = data.getUint32(at + 4)
    if (commitSizePages !== 0) {
      committedFrameCount = frameCount
      committedChecksum = { s0: state.s0 >>> 0, s1: state.s1 >>> 0 }
      databaseSizePages = commitSizePages
    }
  }
  return {
    frameCount,
    checksum: { s0: state.s0 >>> 0, s1: state.s1 >>> 0 },
    committedFrameCount,
    committedChecksum,
    databaseSizePages,
  }
}

/**
 * Gives whole frames other salts and a chain that continues `context.checksum`, in place, and returns the checksum
 * behind them. This is how an index that we rolled ourselves stays a valid WAL.
 */
export function resaltFrames(bytes: Uint8Array, context: FrameContext): Checksum {
  const stepBytes = frameBytes(context.pageSizeBytes)
  const data = view(bytes)
  state.s0 = context.checksum.s0 | 0
  state.s1 = context.checksum.s1 | 0
  for (let at = 0; at + stepBytes <= bytes.byteLength; at += stepBytes) {
    data.setUint32(at + 8, context.salts.salt1)
    data.setUint32(at + 12, context.salts.salt2)
    run(bytes.subarray(at, at + 8), context.bigEndian)
    run(bytes.subarray(at + frameHeaderBytes, at + stepBytes), context.bigEndian)
    data.setInt32(at + 16, state.s0)
    data.setInt32(at + 20, state.s1)
  }
  return { s0: state.s0 >>> 0, s1: state.s1 >>> 0 }
}

/** The salts of the frame in front, unverified. */
export function readFrameSalts(frame: Uint8Array): Salts {
  const data = view(frame)
  return { salt1: data.getUint32(8), salt2: data.getUint32(12) }
}

/** The running checksum behind the frame in front, unverified. */
export function readFrameChecksum(frame: Uint8Array): Checksum {
  const data = view(frame)
  return { s0: data.getUint32(16), s1: data.getUint32(20) }
}

/** The page number of the frame that starts at `at`. */
export function framePageNumber(bytes: DataView, at: number): number {
  return bytes.getUint32(at)
}

/** The highest page number among whole frames. */
export function highestPage(frames: Uint8Array, pageSizeBytes: number): number {
  const data = view(frames)
  let highest = 0
  for (let at = 0; at < frames.length; at += frameBytes(pageSizeBytes)) {
    highest = Math.max(highest, framePageNumber(data, at))
  }
  return highest
}
