/** Builds the image of a database from the objects of a chosen backup, and verifies it on the way. */
import { ChainVerifier, type Verified } from '../../domain/stored/chain-verifier.js'
import { mostPages, mostSnapshotBytes } from '../../domain/stored/content-bounds.js'
import { formatObjectPath } from '../../domain/stored/replica-layout.js'
import { type StoredSegment, type StoredSnapshot } from '../../domain/stored/restore-plan.js'
import { isTrailerOf, type Trailer } from '../../domain/stored/trailer.js'
import { type WalHeader } from '../../domain/wal/wal-format.js'
import { orAborted } from '../../kit/abort.js'
import { ObjectFetcher } from './object-fetcher.js'
import {
  type DatabaseImage,
  type DecodedObject,
  type ImageInput,
  type SegmentInput,
} from '../ports/database-image.js'
import { readTrailer } from '../stored/trailers.js'
import { type Backup, type RestoredDatabase, type RestoreProgress } from './restore-types.js'

/** Ranges of a snapshot that are fetched at once, unless the whole restore is to fetch less. */
const maxSnapshotParallelism = 8
/** In memory on behalf of the snapshot, and as much for the segments, where a store answers slowly. */
const maxFetchedBytes = 12 * 1024 * 1024

export interface ApplyOptions {
  readonly image: DatabaseImage
  readonly parallelism: number
  readonly onProgress: (progress: RestoreProgress) => void
  readonly signal: AbortSignal
}

/** Everything up to the backup's end is in the image when it resolves. */
export async function applyBackup(
  backup: Backup,
  options: ApplyOptions,
): Promise<RestoredDatabase & Pick<Verified, 'sizeBytes' | 'isCommitted'>> {
  const stop = new AbortController()
  const signal = AbortSignal.any([options.signal, stop.signal])
  const application = new Application(backup, { ...options, signal })
  try {
    return await application.run()
  } finally {
    stop.abort()
    await application.settle()
  }
}

class Application {
  readonly #backup: Backup
  readonly #options: ApplyOptions
  readonly #chain: ChainVerifier
  readonly #snapshotFetcher: ObjectFetcher
  readonly #segmentFetcher: ObjectFetcher
  readonly #notes: string[] = []
  readonly #totalBytes: number
  #snapshotBytes = 0
  #segmentBytes = 0
  #phase: 'snapshot' | 'wal' = 'snapshot'

  constructor(backup: Backup, options: ApplyOptions) {
    this.#backup = backup
    this.#options = options
    const { end, snapshot, segments, source } = backup
    this.#chain = new ChainVerifier(snapshot, {
      target: end.kind === 'position' ? end.position : undefined,
      maxPageCount: mostPages(backup.storedBytes),
    })
    this.#totalBytes = backup.storedBytes
    const { parallelism, signal } = options
    this.#snapshotFetcher = new ObjectFetcher(source.client, [snapshot], {
      parallelism: Math.min(parallelism, maxSnapshotParallelism),
      maxBytes: maxFetchedBytes,
      signal,
    })
    this.#segmentFetcher = new ObjectFetcher(source.client, segments, {
      parallelism,
      maxBytes: maxFetchedBytes,
      signal,
    })
  }

  async run(): Promise<RestoredDatabase & Pick<Verified, 'sizeBytes' | 'isCommitted'>> {
    const { image, signal } = this.#options
    this.#report()
    const mostBytes = mostSnapshotBytes(this.#backup.snapshotTrailer)
    const snapshot = image.startSnapshot({ mostBytes })
    const segments = new HandedOver()
    // Whichever fails first ends the restore; what the others wait for may then never come.
    const failure = Promise.withResolvers<never>()
    const feeds = [this.#feedSnapshot(snapshot), this.#feedSegments(segments)]
    for (const feed of feeds) feed.catch(failure.reject)
    await orAborted(Promise.race([failure.promise, this.#verify(snapshot, segments)]), signal)
    const verified = this.#chain.finish()
    const { pageSizeBytes, sizeBytes, isCommitted } = verified
    return {
      position: verified.position,
      pageSizeBytes,
      pageCount: pageSizeBytes === undefined ? undefined : sizeBytes / pageSizeBytes,
      notes: this.#notes,
      sizeBytes,
      isCommitted,
    }
  }

  async settle(): Promise<void> {
    await Promise.all([this.#snapshotFetcher.settle(), this.#segmentFetcher.settle()])
  }

  async #feedSnapshot(input: ImageInput<unknown>): Promise<void> {
    await feed(this.#snapshotFetcher, input, (sizeBytes) => {
      this.#snapshotBytes += sizeBytes
      this.#report()
    })
  }

  async #feedSegments(handedOver: HandedOver): Promise<void> {
    const { image } = this.#options
    const { snapshot, segments } = this.#backup
    let first: SegmentInput | undefined
    let header: WalHeader | undefined
    for (const [at, segment] of segments.entries()) {
      if (segment.offset === 0) header = first = undefined
      else header ??= await first?.header
      // Its index has no header that could be read, which whoever verifies it reports.
      if (segment.offset !== 0 && header === undefined) return
      const { offset, index } = segment
      const start = {
        ...{ offset, header, wantedEndOffset: this.#wantedEndOffset(index) },
        latestEndOffset: this.#latestEndOffset(segment, segments[at + 1]),
      }
      const endsIndex = offset === 0 && index !== snapshot.index
      const input = await image.startSegment(start, { endsIndex })
      if (offset === 0) first = input
      handedOver.add(input)
      await feed(this.#segmentFetcher, input, () => undefined)
    }
  }

  /** Where in an index the wanted frames end. */
  #wantedEndOffset(index: number): number {
    const { isCut, position } = this.#backup
    return isCut && position.index === index ? position.offset : Infinity
  }

  /** Without its trailer, the name of the next one tells. */
  #latestEndOffset(segment: StoredSegment, next: StoredSegment | undefined): number {
    if (next?.index === segment.index) return next.offset
    const { lastTrailer } = this.#backup
    return isTrailerOf(segment, lastTrailer) ? lastTrailer.endOffset : Infinity
  }

  /** Takes the objects' contents in order. */
  async #verify(
    snapshot: ReturnType<DatabaseImage['startSnapshot']>,
    handedOver: HandedOver,
  ): Promise<void> {
    const decoded = await snapshot.decoded
    const trailer = await this.#trailer(this.#backup.snapshot, decoded)
    this.#chain.addSnapshot({ ...decoded, trailer })
    this.#phase = 'wal'
    for (const segment of this.#backup.segments) {
      const input = await handedOver.take()
      const content = await input.decoded
      this.#chain.addSegment(segment, {
        ...content,
        trailer: await this.#trailer(segment, content),
      })
      this.#segmentBytes += segment.sizeBytes
      this.#report()
    }
  }

  async #trailer(
    object: StoredSegment | StoredSnapshot,
    { trailer: found, problem }: DecodedObject,
  ): Promise<Trailer | undefined> {
    if (problem !== undefined) return undefined
    let tail = found
    if (tail.kind === 'longer') {
      const { client } = this.#backup.source
      tail = await readTrailer(client, object, this.#options.signal)
    }
    if (tail.kind === 'unreadable') {
      this.#notes.push(`${formatObjectPath(object)} has an unreadable trailer: ${tail.problem}`)
    }
    return tail.kind === 'trailer' ? tail.trailer : undefined
  }

  #report(): void {
    const doneBytes = this.#snapshotBytes + this.#segmentBytes
    this.#options.onProgress({ phase: this.#phase, doneBytes, totalBytes: this.#totalBytes })
  }
}

/** Moves one object's parts from the replica to the image. */
async function feed(
  fetcher: ObjectFetcher,
  input: ImageInput<unknown>,
  onBytes: (sizeBytes: number) => void,
): Promise<void> {
  for (;;) {
    const part = await fetcher.take()
    const { chunks, sizeBytes, isLast } = part
    await input.push(chunks, isLast)
    onBytes(sizeBytes)
    if (isLast) return
  }
}

/** Segments on their way into the image, in order. */
class HandedOver {
  readonly #inputs: SegmentInput[] = []
  #wake: (() => void) | undefined

  add(input: SegmentInput): void {
    this.#inputs.push(input)
    this.#wake?.()
  }

  async take(): Promise<SegmentInput> {
    for (;;) {
      const input = this.#inputs.shift()
      if (input !== undefined) return input
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}
