/**
 * The trailer: what we add behind the LZ4 frame of every object. It is one LZ4 *skippable frame*, which readers of LZ4
 * and the original pass over:
 *
 *     0  magic 0x184D2A5A, little-endian      4  length of what follows, little-endian
 *     8  version (1; 2 for a snapshot with its lineage)     9  kind (1 WAL segment, 2 snapshot)
 *     10 fields, as varints and big-endian words
 *     …  checksum of bytes 8 to here (SQLite's WAL checksum, two words)
 *     …  length of the whole trailer, 4 bytes little-endian      …  the letters `tsr1`
 *
 * The last 8 bytes tell its size, so that one ranged read of an object's tail finds it. Later versions are ignored by
 * this reader, as if there were no trailer.
 */
import { type Generation, parseGeneration } from '../wal/generation.js'
import { type FollowedGeneration, type Lineage, maxFollowedGenerations } from './lineage.js'
import { greatestLz4Ratio } from './lz4-ratio.js'
import { type ObjectRef } from './replica-layout.js'
import { type WalPosition } from '../wal/position.js'
import {
  type Checksum,
  checksumBytes,
  frameBytes,
  isPageSize,
  type Salts,
  type WalHeader,
} from '../wal/wal-format.js'

/** One look at the WAL: everything up to `endOffset` was committed at or before `timeMs`. */
export interface Capture {
  /** Offset in the index behind the last commit that was seen. */
  readonly endOffset: number
  /** When it was seen, in milliseconds since 1970. Never goes back within a generation. */
  readonly timeMs: number
}

/** Where the WAL index before this one ends: without it, a lost last segment of an index would not be noticed. */
export interface PreviousIndexEnd {
  readonly offset: number
  readonly checksum: Checksum
}

/** SQLite's own WAL behind a segment of an index that we rolled, whose salts and offsets are ours. */
export interface SourceWal {
  readonly salts: Salts
  readonly endOffset: number
  readonly checksum: Checksum
}

export interface WalSegmentTrailer {
  readonly kind: 'wal-segment'
  readonly generation: Generation
  readonly index: number
  readonly startOffset: number
  readonly endOffset: number
  readonly pageSizeBytes: number
  readonly bigEndian: boolean
  readonly databaseSizePages: number
  readonly salts: Salts
  readonly checksumBefore: Checksum
  readonly checksumAfter: Checksum
  /** At least one, ascending; the last one ends where the segment ends. */
  readonly captures: readonly Capture[]
  /** In a segment at offset 0 that has an index before it. */
  readonly previousIndexEnd: PreviousIndexEnd | undefined
  /** Only if the frames were re-salted. */
  readonly source: SourceWal | undefined
}

export interface SnapshotTrailer {
  readonly kind: 'snapshot'
  readonly generation: Generation
  /** The index from whose offset 0 the snapshot is to be replayed. */
  readonly index: number
  /** The first position at which the replayed snapshot is a commit of the application. */
  readonly consistentFrom: WalPosition
  readonly pageSizeBytes: number
  readonly pageCount: number
  readonly startTimeMs: number
  readonly endTimeMs: number
  /** Time of the commit at `consistentFrom`: from this moment on, the snapshot can be restored. */
  readonly commitTimeMs: number
  /** Undefined: what its generation follows was not known, or the snapshot is of an earlier version. */
  readonly lineage: Lineage | undefined
}

export type Trailer = WalSegmentTrailer | SnapshotTrailer

/** What the trailer of an object is. */
export type TrailerOf<Ref extends ObjectRef> = Extract<Trailer, { kind: Ref['kind'] }>

/** Whether a trailer is the one of an object, and not of another one that was stored under its name. */
export function isTrailerOf<Ref extends ObjectRef>(
  ref: Ref,
  trailer: Trailer | undefined,
): trailer is TrailerOf<Ref> {
  if (trailer?.generation !== ref.generation || trailer.index !== ref.index) return false
  if (trailer.kind === 'snapshot') return ref.kind === 'snapshot'
  return ref.kind === 'wal-segment' && trailer.startOffset === ref.offset
}

/** The trailer that the end of an object has, if it is the object's own. */
export function ownTrailer<Ref extends ObjectRef>(
  ref: Ref,
  tail: TrailerTail | undefined,
): TrailerOf<Ref> | undefined {
  return tail?.kind === 'trailer' && isTrailerOf(ref, tail.trailer) ? tail.trailer : undefined
}

/** What a trailer says of the header of its index, for a segment behind the one that brings it. */
export function indexHeaderOf(trailer: Trailer | undefined): WalHeader | undefined {
  if (trailer?.kind !== 'wal-segment') return undefined
  const { pageSizeBytes, bigEndian, salts, checksumBefore: checksum } = trailer
  return { pageSizeBytes, bigEndian, salts, checkpointSequence: 0, checksum }
}

const skippableMagic = 0x184d2a5a
const version = 1
const versionWithLineage = 2
/** `tsr1` */
const footerMagic = [0x74, 0x73, 0x72, 0x31] as const
const headBytes = 8
const checksumBytesCount = 8
const footBytes = 8

/** Bytes at an object's end that are worth reading at once to find its trailer: most trailers are shorter. */
export const trailerTailBytes = 4096
/** A trailer longer than this is not believed, nor one with more captures: who can write to a store could fill our memory. */
const maxTrailerBytes = 4 * 1024 * 1024
const maxCaptures = 2 ** 18
/** Behind it there is no date in JavaScript. */
const maxTimeMs = 8.64e15
const maxPageCount = 0xffff_fffe

class Writer {
  #bytes = new Uint8Array(256)
  #length = 0

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count))
    grown.set(this.#bytes)
    this.#bytes = grown
  }

  byte(value: number): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = value
  }

  /** An unsigned integer below 2^53, seven bits a byte, low bits first. */
  varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new RangeError(`${value} is no unsigned integer`)
    }
    let rest = value
    while (rest >= 0x80) {
      this.byte((rest % 0x80) | 0x80)
      rest = Math.floor(rest / 0x80)
    }
    this.byte(rest)
  }

  word(value: number): void {
    this.#reserve(4)
    new DataView(this.#bytes.buffer).setUint32(this.#length, value)
    this.#length += 4
  }

  littleEndianWord(value: number): void {
    this.#reserve(4)
    new DataView(this.#bytes.buffer).setUint32(this.#length, value, true)
    this.#length += 4
  }

  checksum(value: Checksum): void {
    this.word(value.s0)
    this.word(value.s1)
  }

  salts(value: Salts): void {
    this.word(value.salt1)
    this.word(value.salt2)
  }

  get bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length)
  }
}

class Truncated extends Error {}

class Reader {
  readonly #bytes: Uint8Array
  readonly #data: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  byte(): number {
    const value = this.#bytes[this.#at]
    if (value === undefined) throw new Truncated()
    this.#at += 1
    return value
  }

  varint(): number {
    let value = 0
    let scale = 1
    for (;;) {
      const byte = this.byte()
      value += (byte & 0x7f) * scale
      if (!Number.isSafeInteger(value)) throw new Truncated()
      if (byte < 0x80) return value
      scale *= 0x80
    }
  }

  word(): number {
    if (this.#at + 4 > this.#bytes.length) throw new Truncated()
    const value = this.#data.getUint32(this.#at)
    this.#at += 4
    return value
  }

  checksum(): Checksum {
    return { s0: this.word(), s1: this.word() }
  }

  salts(): Salts {
    return { salt1: this.word(), salt2: this.word() }
  }
}

const padded = (bytes: Uint8Array): Uint8Array => {
  const result = new Uint8Array(Math.ceil(bytes.length / 8) * 8)
  result.set(bytes)
  return result
}

const flagBigEndian = 1
const flagPrevious = 2
const flagSource = 4

function writeGeneration(writer: Writer, generation: Generation): void {
  for (let i = 0; i < 16; i += 2) writer.byte(Number.parseInt(generation.slice(i, i + 2), 16))
}

function readGeneration(reader: Reader): Generation {
  let text = ''
  for (let i = 0; i < 8; i += 1) text += reader.byte().toString(16).padStart(2, '0')
  const generation = parseGeneration(text)
  if (generation === undefined) throw new Truncated()
  return generation
}

function writeLineage(writer: Writer, { ordinal, epoch, follows }: Lineage): void {
  writer.varint(ordinal)
  writer.varint(epoch)
  writer.varint(follows.length)
  for (const { generation, end } of follows) {
    writeGeneration(writer, generation)
    writer.byte(end === undefined ? 0 : 1)
    if (end === undefined) continue
    writer.varint(end.index)
    writer.varint(end.offset)
  }
}

function readLineage(reader: Reader): Lineage | undefined {
  const ordinal = reader.varint()
  const epoch = reader.varint()
  const count = reader.varint()
  if (count > maxFollowedGenerations) return undefined
  const follows: FollowedGeneration[] = []
  for (let i = 0; i < count; i += 1) {
    const generation = readGeneration(reader)
    const end =
      reader.byte() === 0 ? undefined : { index: reader.varint(), offset: reader.varint() }
    follows.push({ generation, end })
  }
  return { ordinal, epoch, follows }
}

/** With fewer captures it is known less exactly when a commit was made, and that is all. The last one stays. */
function thinned(captures: readonly Capture[]): readonly Capture[] {
  const step = Math.ceil(captures.length / maxCaptures)
  return captures.filter((_, i) => (captures.length - 1 - i) % step === 0)
}

/** The trailer as bytes, to be written behind the LZ4 frame. */
export function formatTrailer(trailer: Trailer): Uint8Array {
  const body = new Writer()
  const hasLineage = trailer.kind === 'snapshot' && trailer.lineage !== undefined
  body.byte(hasLineage ? versionWithLineage : version)
  body.byte(trailer.kind === 'wal-segment' ? 1 : 2)
  writeGeneration(body, trailer.generation)
  body.varint(trailer.index)
  body.varint(trailer.pageSizeBytes)
  if (trailer.kind === 'snapshot') {
    body.varint(trailer.consistentFrom.index)
    body.varint(trailer.consistentFrom.offset)
    body.varint(trailer.pageCount)
    body.varint(trailer.startTimeMs)
    body.varint(trailer.endTimeMs)
    body.varint(trailer.commitTimeMs)
    if (trailer.lineage !== undefined) writeLineage(body, trailer.lineage)
  } else {
    body.byte(
      (trailer.bigEndian ? flagBigEndian : 0) |
        (trailer.previousIndexEnd === undefined ? 0 : flagPrevious) |
        (trailer.source === undefined ? 0 : flagSource),
    )
    body.varint(trailer.startOffset)
    body.varint(trailer.databaseSizePages)
    body.salts(trailer.salts)
    body.checksum(trailer.checksumBefore)
    body.checksum(trailer.checksumAfter)
    if (trailer.previousIndexEnd !== undefined) {
      body.varint(trailer.previousIndexEnd.offset)
      body.checksum(trailer.previousIndexEnd.checksum)
    }
    if (trailer.source !== undefined) {
      body.salts(trailer.source.salts)
      body.varint(trailer.source.endOffset)
      body.checksum(trailer.source.checksum)
    }
    const captures = thinned(trailer.captures)
    body.varint(captures.length)
    let offset = trailer.startOffset
    let timeMs = 0
    for (const capture of captures) {
      body.varint(capture.endOffset - offset)
      body.varint(capture.timeMs - timeMs)
      offset = capture.endOffset
      timeMs = capture.timeMs
    }
    if (offset !== trailer.endOffset) {
      throw new RangeError('the last capture ends where the segment ends')
    }
  }
  const fields = body.bytes
  const lengthBytes = headBytes + fields.length + checksumBytesCount + footBytes
  const whole = new Writer()
  whole.littleEndianWord(skippableMagic)
  whole.littleEndianWord(lengthBytes - headBytes)
  for (const byte of fields) whole.byte(byte)
  whole.checksum(checksumBytes(padded(fields), { s0: 0, s1: 0 }, true))
  whole.littleEndianWord(lengthBytes)
  for (const byte of footerMagic) whole.byte(byte)
  return whole.bytes
}

/** What the end of an object says about its trailer. */
export type TrailerTail =
  | { readonly kind: 'trailer'; readonly trailer: Trailer; readonly lengthBytes: number }
  /** The trailer is longer than the bytes given: read this many from the end. */
  | { readonly kind: 'longer'; readonly lengthBytes: number }
  /** The object has none: it is the original's, or of a later version. */
  | { readonly kind: 'none' }
  /** There is one, and it is damaged. */
  | { readonly kind: 'unreadable'; readonly problem: string }

/** Finds and reads the trailer in the last bytes of an object that has so many in all: they bound what it may say. */
export function parseTrailer(tail: Uint8Array, objectBytes: number): TrailerTail {
  const end = tail.length
  if (end < headBytes + checksumBytesCount + footBytes) return { kind: 'none' }
  if (footerMagic.some((byte, i) => tail[end - 4 + i] !== byte)) return { kind: 'none' }
  const data = new DataView(tail.buffer, tail.byteOffset, tail.byteLength)
  const lengthBytes = data.getUint32(end - 8, true)
  if (
    lengthBytes < headBytes + 2 + checksumBytesCount + footBytes ||
    lengthBytes > maxTrailerBytes
  ) {
    return { kind: 'unreadable', problem: `impossible length ${lengthBytes}` }
  }
  if (lengthBytes > end) return { kind: 'longer', lengthBytes }
  const start = end - lengthBytes
  if (
    data.getUint32(start, true) !== skippableMagic ||
    data.getUint32(start + 4, true) !== lengthBytes - headBytes
  ) {
    return { kind: 'unreadable', problem: 'its two lengths differ' }
  }
  const fields = tail.subarray(start + headBytes, end - footBytes - checksumBytesCount)
  const stored = {
    s0: data.getUint32(end - footBytes - 8),
    s1: data.getUint32(end - footBytes - 4),
  }
  const computed = checksumBytes(padded(fields), { s0: 0, s1: 0 }, true)
  if (stored.s0 !== computed.s0 || stored.s1 !== computed.s1) {
    return { kind: 'unreadable', problem: 'bad checksum' }
  }
  if (fields[0] !== version && fields[0] !== versionWithLineage) return { kind: 'none' }
  try {
    const trailer = readFields(new Reader(fields), (objectBytes - lengthBytes) * greatestLz4Ratio)
    return trailer === undefined
      ? { kind: 'unreadable', problem: 'impossible values' }
      : { kind: 'trailer', trailer, lengthBytes }
  } catch (error) {
    if (error instanceof Truncated) return { kind: 'unreadable', problem: 'truncated fields' }
    throw error
  }
}

/** Undefined: no segment has these. Each one is of a frame at least, of those that the object can hold. */
function readCaptures(
  reader: Reader,
  segment: {
    readonly startOffset: number
    readonly pageSizeBytes: number
    readonly mostBytes: number
  },
): readonly Capture[] | undefined {
  const { startOffset, pageSizeBytes, mostBytes } = segment
  const count = reader.varint()
  if (count > maxCaptures || count * frameBytes(pageSizeBytes) > mostBytes) return undefined
  const captures: Capture[] = []
  let endOffset = startOffset
  let timeMs = 0
  for (let i = 0; i < count; i += 1) {
    const stepBytes = reader.varint()
    endOffset += stepBytes
    timeMs += reader.varint()
    if (stepBytes < frameBytes(pageSizeBytes) || timeMs > maxTimeMs) return undefined
    captures.push({ endOffset, timeMs })
  }
  return endOffset - startOffset > mostBytes ? undefined : captures
}

/** Undefined: there is no object of which this is true. `mostBytes`: of its content. */
function readFields(reader: Reader, mostBytes: number): Trailer | undefined {
  const hasLineage = reader.byte() === versionWithLineage
  const kind = reader.byte()
  const generation = readGeneration(reader)
  const index = reader.varint()
  const pageSizeBytes = reader.varint()
  if (!isPageSize(pageSizeBytes)) return undefined
  if (kind === 2) {
    const trailer: SnapshotTrailer = {
      kind: 'snapshot',
      generation,
      index,
      pageSizeBytes,
      consistentFrom: { index: reader.varint(), offset: reader.varint() },
      pageCount: reader.varint(),
      startTimeMs: reader.varint(),
      endTimeMs: reader.varint(),
      commitTimeMs: reader.varint(),
      lineage: hasLineage ? readLineage(reader) : undefined,
    }
    const { startTimeMs, endTimeMs, commitTimeMs, lineage } = trailer
    const isPossible =
      hasLineage === (lineage !== undefined) &&
      trailer.pageCount <= maxPageCount &&
      trailer.pageCount * pageSizeBytes <= mostBytes &&
      [startTimeMs, endTimeMs, commitTimeMs].every((timeMs) => timeMs <= maxTimeMs)
    return isPossible && reader.atEnd ? trailer : undefined
  }
  if (kind !== 1 || hasLineage) return undefined
  const flags = reader.byte()
  const startOffset = reader.varint()
  const databaseSizePages = reader.varint()
  const salts = reader.salts()
  const checksumBefore = reader.checksum()
  const checksumAfter = reader.checksum()
  const previousIndexEnd =
    (flags & flagPrevious) === 0
      ? undefined
      : { offset: reader.varint(), checksum: reader.checksum() }
  const source =
    (flags & flagSource) === 0
      ? undefined
      : { salts: reader.salts(), endOffset: reader.varint(), checksum: reader.checksum() }
  const captures = readCaptures(reader, { startOffset, pageSizeBytes, mostBytes })
  const endOffset = captures?.at(-1)?.endOffset
  if (captures === undefined || endOffset === undefined || !reader.atEnd) return undefined
  return {
    kind: 'wal-segment',
    generation,
    index,
    startOffset,
    endOffset,
    pageSizeBytes,
    bigEndian: (flags & flagBigEndian) !== 0,
    databaseSizePages,
    salts,
    checksumBefore,
    checksumAfter,
    captures,
    previousIndexEnd,
    source,
  }
}
