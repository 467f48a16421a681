import { ObjectWriter } from './object-writer.js'
import { type ReplicaClient } from './ports/replica-client.js'
import { type Spool, type SpooledSegment } from './ports/spool.js'

/** Sends a segment of the spool to a replica. Resolves with its size there when the store has acknowledged it. */
export async function sendSegment(
  { client, spool }: { readonly client: ReplicaClient; readonly spool: Spool },
  segment: SpooledSegment,
  signal: AbortSignal,
): Promise<number> {
  const { generation, index, startOffset, sizeBytes } = segment
  const ref = { kind: 'wal-segment', generation, index, offset: startOffset } as const
  const offer = { expectedBytes: sizeBytes, file: spool.fileOf(segment) }
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
