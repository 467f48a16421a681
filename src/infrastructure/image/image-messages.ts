/** What the main thread and the threads that build an image say to each other. */
import { type SegmentStart } from '../../domain/wal/segment-verifier.js'
import { type WalHeader } from '../../domain/wal/wal-format.js'
import { type FileIdentity } from '../../usecase/ports/managed-database.js'
import { type DecodedSegment, type DecodedSnapshot } from '../../usecase/ports/database-image.js'

/** Words of the memory that all threads of an image share. */
export const sharedTurn = 0
/** The size in pages that the last written commit states, as an unsigned word. */
export const sharedPageCount = 1
export const sharedBytes = 8

export type ImageTask =
  | { readonly kind: 'snapshot'; readonly mostBytes: number }
  | { readonly kind: 'segment'; readonly start: SegmentStart; readonly endsIndex: boolean }

export type ImageRequest =
  | {
      readonly kind: 'open'
      readonly fd: number
      readonly shared: SharedArrayBuffer
      readonly maxPageCount: number
    }
  /** `turn`: the ordinal of the object; pages are written in this order. */
  | { readonly kind: 'start'; readonly turn: number; readonly task: ImageTask }
  | {
      readonly kind: 'bytes'
      readonly turn: number
      readonly chunks: readonly Uint8Array[]
      readonly isLast: boolean
    }

export type ImageReply =
  /** Bytes of the body have been used up. */
  | { readonly kind: 'used'; readonly turn: number; readonly sizeBytes: number }
  | { readonly kind: 'header'; readonly turn: number; readonly header: WalHeader }
  | { readonly kind: 'snapshot'; readonly turn: number; readonly decoded: DecodedSnapshot }
  | { readonly kind: 'segment'; readonly turn: number; readonly decoded: DecodedSegment }
  /** The file cannot be written. */
  | { readonly kind: 'failed'; readonly message: string }

export interface CheckRequest {
  readonly path: string
  /** The one that is to be checked, whatever has that path. */
  readonly file: FileIdentity
  readonly pragma: 'quick_check' | 'integrity_check'
}

/**
 * What SQLite says of the file: that its pages fit together, with what it remarks on what is stored in them; what is damaged;
 * why the file could not be read; or why SQLite was stopped: it took too long, or too much memory.
 */
export type CheckResult =
  | { readonly verdict: 'sound'; readonly remarks: readonly string[] }
  | { readonly verdict: 'damaged' | 'failed' | 'late' | 'too large'; readonly detail: string }
