/** Writes LZ4 frames as `domain/trailer.ts` and the storage format want them: one frame, 4 MiB blocks, one checksum. */
export interface Compressor {
  startFrame(): FrameEncoder
}

/** One LZ4 frame being written. Its blocks stand in the order in which they were asked for. */
export interface FrameEncoder {
  /** The frame's header. Called first. */
  header(): Uint8Array
  /** Compresses at most 4 MiB into one block. */
  block(content: Uint8Array): Uint8Array
  /** End mark and checksum. Called last. */
  end(): Uint8Array
}

/** The largest input of one block. */
export const maxBlockBytes = 4 * 1024 * 1024
