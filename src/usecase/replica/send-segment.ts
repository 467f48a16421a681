import { ObjectExistsError } from '../../domain/errors.js'
import { type ObjectRef } from '../../domain/stored/replica-layout.js'
import { ObjectWriter } from './object-writer.js'
import { type ReplicaClient } from '../ports/replica-client.js'
import { type Spool, type SpooledSegment } from '../ports/spool.js'
import { readTrailer } from '../stored/trailers.js'

/** A segment that the store has acknowledged. */
export interface StoredSent {
  /** Its size there. */
  readonly storedBytes: number
  /** It had been stored before, by a request whose answer was lost or by another process of ours. */
  readonly wasThere: boolean
}

/**
 * Sends a segment of the spool to a replica. Resolves when the store has acknowledged it. One that is
 * `isNew` takes no other's place: that of who was the owner before, whose request hung, or of a history that was abandoned.
 */
export async function sendSegment(
  {
    client,
    spool,
    isNew,
  }: { readonly client: ReplicaClient; readonly spool: Spool; readonly isNew: boolean },
  segment: SpooledSegment,
  signal: AbortSignal,
): Promise<StoredSent> {
  const { generation, index, startOffset, sizeBytes } = segment
  const ref = { kind: 'wal-segment', generation, index, offset: startOffset } as const
  const offer = {
    expectedBytes: sizeBytes,
    file: spool.fileOf(segment),
    isNew,
    mark: markOf(segment),
  }
  await using upload = await client.startUpload(ref, offer, signal)
  const writer = new ObjectWriter(upload)
  if (!upload.isWhole) {
    // A chunk that is a part is sent as it is.
    const options = { chunkBytes: upload.partSizeBytes }
    for await (const chunk of spool.read(segment, signal, options)) await writer.write(chunk)
    await writer.end()
  }
  let wasThere = false
  try {
    await writer.finish()
  } catch (error) {
    // The request may have been carried out though its answer was lost.
    if (!(error instanceof ObjectExistsError)) throw error
    if (!(await isThere(client, { ref, segment }, signal))) throw error
    wasThere = true
  }
  return { storedBytes: upload.storedBytes(sizeBytes), wasThere }
}

/** Whether the object of that name is this very segment. */
async function isThere(
  client: ReplicaClient,
  { ref, segment }: { readonly ref: ObjectRef; readonly segment: SpooledSegment },
  signal: AbortSignal,
): Promise<boolean> {
  const { sizeBytes } = segment
  const mark = markOf(segment)
  const found = await readTrailer(client, { ...ref, sizeBytes }, signal)
  if (found.kind !== 'trailer') return (await client.isMarked({ ref, mark }, signal)) ?? false
  const { trailer } = found
  return trailer.kind === 'wal-segment' && markOf({ trailer, sizeBytes }) === mark
}

/** What tells a segment from all others, of the same name in another history too. */
export function markOf({
  trailer,
  sizeBytes,
}: Pick<SpooledSegment, 'trailer' | 'sizeBytes'>): string {
  const { generation, index, startOffset, endOffset, salts, checksumBefore, checksumAfter } =
    trailer
  const numbers = [index, startOffset, endOffset, sizeBytes, salts.salt1, salts.salt2]
  const checksums = [checksumBefore, checksumAfter].flatMap(({ s0, s1 }) => [s0, s1])
  return [generation, ...numbers, ...checksums].join(' ')
}
