/**
 * Verifies the frames of one stored WAL segment by themselves, so that segments can be verified at the same time: what
 * the first frame must continue is computed backwards from it, and compared by `chain-verifier.ts` with what the segment
 * before it ends with.
 */
import { CorruptionError } from '../errors.js'
import {
  type Checksum,
  checksumBeforeFrame,
  frameBytes,
  parseWalHeader,
  readFrameSalts,
  type Salts,
  verifyFrames,
  walHeaderBytes,
  type WalHeader,
} from './wal-format.js'

/** What must be known of a segment before its bytes are. */
export interface SegmentStart {
  readonly offset: number
  /** The header of its index; undefined in the segment that brings it, at offset 0. */
  readonly header: WalHeader | undefined
  /** Frames that end behind this offset are verified and not wanted. */
  readonly wantedEndOffset: number
  /** Where it ends at the latest, as its trailer says or the segment behind it; Infinity: nothing says it. */
  readonly latestEndOffset: number
}

export interface SegmentContent {
  /** In a segment at offset 0. */
  readonly header: WalHeader | undefined
  /** Undefined as long as there is no frame. */
  readonly salts: Salts | undefined
  /** What the first frame continues. */
  readonly checksumBefore: Checksum | undefined
  readonly checksumAfter: Checksum | undefined
  /** The offset behind the last verified frame. */
  readonly endOffset: number
  /** The last commit among the wanted frames. */
  readonly commit: { readonly endOffset: number; readonly pageCount: number } | undefined
}

export class SegmentVerifier {
  readonly #start: SegmentStart
  #newHeader: WalHeader | undefined
  #header: WalHeader | undefined
  #salts: Salts | undefined
  #checksumBefore: Checksum | undefined
  #checksum: Checksum | undefined
  #offset: number
  #commit: SegmentContent['commit']
  /** The beginning of a header or frame whose rest is in the next block. */
  #part: Uint8Array = new Uint8Array(0)
  #partBytes = 0

  constructor(start: SegmentStart) {
    this.#start = start
    this.#offset = start.offset
    this.#header = start.header
  }

  /** Known once the header is. */
  get header(): WalHeader | undefined {
    return this.#header
  }

  get content(): SegmentContent {
    return {
      header: this.#newHeader,
      salts: this.#salts,
      checksumBefore: this.#checksumBefore,
      checksumAfter: this.#checksum,
      endOffset: this.#offset,
      commit: this.#commit,
    }
  }

  /** Verifies what ends in the next block of the segment and returns the wanted frames, as runs of whole frames. */
  push(block: Uint8Array): Uint8Array[] {
    const runs: Uint8Array[] = []
    if (this.#offset + this.#partBytes + block.length > this.#start.latestEndOffset) {
      throw new CorruptionError('it has more frames than its trailer and the next segment allow')
    }
    for (let rest = block; rest.length > 0;) {
      const unitBytes =
        this.#header === undefined ? walHeaderBytes : frameBytes(this.#header.pageSizeBytes)
      if (this.#partBytes > 0 || rest.length < unitBytes) {
        if (this.#partBytes === 0) this.#part = new Uint8Array(unitBytes)
        const added = rest.subarray(0, unitBytes - this.#partBytes)
        this.#part.set(added, this.#partBytes)
        this.#partBytes += added.length
        rest = rest.subarray(added.length)
        if (this.#partBytes < unitBytes) break
        this.#partBytes = 0
        this.#whole(this.#part, runs)
      } else {
        const wholeBytes =
          this.#header === undefined
            ? walHeaderBytes
            : Math.floor(rest.length / unitBytes) * unitBytes
        this.#whole(rest.subarray(0, wholeBytes), runs)
        rest = rest.subarray(wholeBytes)
      }
    }
    return runs
  }

  /** Called behind the last block. */
  end(): void {
    if (this.#partBytes > 0) throw new CorruptionError('it ends within a frame')
    if (this.#offset === this.#start.offset) throw new CorruptionError('it is empty')
  }

  #whole(bytes: Uint8Array, runs: Uint8Array[]): void {
    if (this.#header !== undefined) {
      const wanted = this.#frames(bytes, this.#header)
      if (wanted.length > 0) runs.push(wanted)
      return
    }
    const parsed = parseWalHeader(bytes)
    if (!parsed.ok) throw new CorruptionError(`bad WAL header: ${parsed.problem}`)
    this.#header = this.#newHeader = parsed.header
    this.#salts = parsed.header.salts
    this.#checksum = parsed.header.checksum
    this.#offset = walHeaderBytes
  }

  #frames(bytes: Uint8Array, { pageSizeBytes, bigEndian }: WalHeader): Uint8Array {
    const stepBytes = frameBytes(pageSizeBytes)
    const count = bytes.length / stepBytes
    const salts = (this.#salts ??= readFrameSalts(bytes))
    const checksum = this.#checksum ?? checksumBeforeFrame(bytes, { pageSizeBytes, bigEndian })
    this.#checksumBefore ??= checksum
    const verified = verifyFrames(bytes, { pageSizeBytes, bigEndian, salts, checksum })
    const startOffset = this.#offset
    this.#checksum = verified.checksum
    this.#offset += verified.frameCount * stepBytes
    const wantedCount = Math.min(
      verified.frameCount,
      Math.max(0, Math.floor((this.#start.wantedEndOffset - startOffset) / stepBytes)),
    )
    this.#noteCommit(bytes, { startOffset, stepBytes, count: wantedCount })
    if (verified.frameCount < count) {
      throw new CorruptionError('the frame there does not continue the previous one')
    }
    return bytes.subarray(0, wantedCount * stepBytes)
  }

  #noteCommit(
    bytes: Uint8Array,
    frames: { startOffset: number; stepBytes: number; count: number },
  ): void {
    const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const { startOffset, stepBytes } = frames
    for (let frame = frames.count - 1; frame >= 0; frame -= 1) {
      const pageCount = data.getUint32(frame * stepBytes + 4)
      if (pageCount === 0) continue
      this.#commit = { endOffset: startOffset + (frame + 1) * stepBytes, pageCount }
      return
    }
  }
}
