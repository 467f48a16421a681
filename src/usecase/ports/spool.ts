/**
 * The port to the spool: the local folder of finished WAL segments of the current generation, byte for byte what is
 * uploaded, kept until every replica has them. It is also the memory of where capturing stands: the last segment is
 * kept when all others are gone. Nothing half-written is ever seen in it after a crash.
 */
import { type Generation } from '../../domain/wal/generation.js'
import { type GenerationOrigin } from '../../domain/stored/lineage.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { type WalSegmentTrailer } from '../../domain/stored/trailer.js'
import { type FileIdentity } from './managed-database.js'

/** A finished segment in the spool. */
export interface SpooledSegment {
  readonly generation: Generation
  readonly index: number
  readonly startOffset: number
  readonly endOffset: number
  /** Bytes of the file: LZ4 frame and trailer. */
  readonly sizeBytes: number
  /** Bytes of the WAL in it, uncompressed. */
  readonly walBytes: number
  readonly trailer: WalSegmentTrailer
}

/** What is known of the current generation. */
export interface SpoolState {
  readonly generation: Generation
  readonly identity: FileIdentity
  /** Absent: the local state is of an earlier version. */
  readonly origin?: GenerationOrigin
  /** In order, tiling. The last one is where capturing stands. */
  readonly segments: readonly SpooledSegment[]
}

/** A segment being written. */
export interface SegmentWriter extends AsyncDisposable {
  write(...chunks: readonly Uint8Array[]): Promise<void>
  /** Makes the segment visible and durable under its name. */
  finish(trailer: WalSegmentTrailer): Promise<SpooledSegment>
  /** Without a finish before it, nothing stays. */
  [Symbol.asyncDispose](): Promise<void>
}

export interface Spool extends AsyncDisposable {
  /**
   * Claims the folder for this process and reads what is there; leftovers of a crash are removed. Undefined: nothing
   * usable, with the reason. Throws {@link InUseError} when another process holds it,
   * {@link LocalStateError} when it cannot be read.
   */
  open(
    signal: AbortSignal,
  ): Promise<
    | { readonly state: SpoolState }
    | { readonly state: undefined; readonly reason: 'none' | 'unreadable'; readonly detail: string }
  >

  /** Whether the claim, the generation and its folder are still there; after `false`, dispose and open again. */
  isIntact(signal: AbortSignal): Promise<boolean>

  /** Makes a generation the current one, durably, and removes everything of others. */
  beginGeneration(begun: Omit<SpoolState, 'segments'>, signal: AbortSignal): Promise<void>

  /** Begins a segment at a position of the current generation. */
  startSegment(position: WalPosition, signal: AbortSignal): Promise<SegmentWriter>

  /** The bytes of a finished segment, in chunks of that size; by default of a size that suits memory. */
  read(
    segment: SpooledSegment,
    signal: AbortSignal,
    options?: { readonly chunkBytes: number },
  ): AsyncIterable<Uint8Array>

  /** Whether a finished segment is still there, in its length. */
  isWhole(segment: SpooledSegment, signal: AbortSignal): Promise<boolean>

  /** The path of a finished segment's file, which holds what `read` yields and never changes. */
  fileOf(segment: SpooledSegment): string

  /** Puts one segment in the place of the consecutive ones that it was merged from, durably, in that order. */
  replace(
    merged: {
      readonly parts: readonly SpooledSegment[]
      readonly writer: SegmentWriter
      readonly trailer: WalSegmentTrailer
    },
    signal: AbortSignal,
  ): Promise<SpooledSegment>

  /** Removes segments that nobody needs any more. */
  remove(segments: readonly SpooledSegment[], signal: AbortSignal): Promise<void>
}
