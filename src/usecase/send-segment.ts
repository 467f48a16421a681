import { ObjectWriter } from './object-writer.js'
import { type ReplicaClient } from './ports/replica-client.js'
import { type Spool, type SpooledSegment } from './ports/spool.js'

/**
 * Sends a segment of the spool to a replica. Resolves with its size there when the store has acknowledged it. One that is
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
): Promise<number> {
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
  if (upload.isWhole !== true) {
    // A chunk that is a part is sent as it is.
    const options = { chunkBytes: upload.partSizeBytes }
    for await (const chunk of spool.read(segment, signal, options)) await writer.write(chunk)
    await writer.end()
  }
  await writer.finish()
  return upload.storedBytes?.(sizeBytes) ?? sizeBytes
}

/** What tells a segment from all others, of the same name in another history too. */
export function markOf({ trailer, sizeBytes }: SpooledSegment): string {
  const { generation, index, startOffset, endOffset, salts, checksumBefore, checksumAfter } =
    trailer
  const numbers = [index, startOffset, endOffset, sizeBytes, salts.salt1, salts.salt2]
  const checksums = [checksumBefore, checksumAfter].flatMap(({ s0, s1 }) => [s0, s1])
  return [generation, ...numbers, ...checksums].join(' ')
}
