/** A generation in a spool, segment by segment, as a capture leaves it, for what carries it to a replica. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatObjectPath } from '../../src/domain/stored/replica-layout.ts'
import { type Generation } from '../../src/domain/wal/generation.ts'
import { createLz4Compressor } from '../../src/infrastructure/lz4/frame-encoder.ts'
import { openSystemProcesses } from '../../src/infrastructure/processes/system-processes.ts'
import { FolderSpool } from '../../src/infrastructure/spool/folder-spool.ts'
import { never } from '../../src/kit/abort.ts'
import { GenerationFeed } from '../../src/usecase/backlog/generation-feed.ts'
import { type SpooledSegment } from '../../src/usecase/ports/spool.ts'

/** Bytes of WAL in each. */
export const segmentBytes = 536

const compressor = await createLz4Compressor()

export class SpooledHistory implements AsyncDisposable {
  readonly generation: Generation
  readonly spool: FolderSpool
  feed = new GenerationFeed()
  readonly #folder: string

  private constructor(generation: Generation, folder: string, spool: FolderSpool) {
    this.generation = generation
    this.#folder = folder
    this.spool = spool
    const end = { index: 0, offset: 0 }
    this.feed.current = { generation, pageSizeBytes: 512, segments: [], end }
  }

  static async begin(generation: Generation): Promise<SpooledHistory> {
    const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-test-'))
    const spool = new FolderSpool({ path: folder, processes: await openSystemProcesses() })
    await spool.open(never)
    await spool.beginGeneration({ generation, identity: { device: 1, inode: 2 } }, never)
    return new SpooledHistory(generation, folder, spool)
  }

  /** The object of the segment of that number, when it is sent alone or as the first of several. */
  nameOf(number: number): string {
    const { generation } = this
    const offset = number * segmentBytes
    return formatObjectPath({ kind: 'wal-segment', generation, index: 0, offset })
  }

  get segments(): readonly SpooledSegment[] {
    return this.feed.current?.segments ?? []
  }

  /** Captures `count` more segments. */
  async add(count: number, timeMs = 1000, monotonicMs = 0): Promise<void> {
    const { current } = this.feed
    if (current === undefined) throw new Error('no generation')
    for (let i = 0; i < count; i += 1) {
      const start = current.end.offset
      const end = start + segmentBytes
      await using writer = await this.spool.startSegment({ index: 0, offset: start }, never)
      const encoder = compressor.startFrame()
      await writer.write(encoder.header())
      const frames = new Uint8Array(segmentBytes).fill(start / segmentBytes)
      await writer.write(encoder.block(frames))
      await writer.write(encoder.end())
      const segment = await writer.finish({
        kind: 'wal-segment',
        generation: this.generation,
        index: 0,
        startOffset: start,
        endOffset: end,
        pageSizeBytes: 512,
        bigEndian: false,
        databaseSizePages: 3,
        salts: { salt1: 1, salt2: 2 },
        checksumBefore: { s0: 0, s1: start },
        checksumAfter: { s0: 0, s1: end },
        captures: [{ endOffset: end, timeMs }],
        previousIndexEnd: undefined,
        source: undefined,
      })
      this.feed.noteSince(segment, monotonicMs)
      current.segments.push(segment)
      current.end = { index: 0, offset: end }
      this.feed.announce()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.spool[Symbol.asyncDispose]()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
