import { type ObjectRef } from '../../domain/stored/replica-layout.js'
import { parseTrailer, trailerTailBytes, type TrailerTail } from '../../domain/stored/trailer.js'
import { type ReplicaClient } from '../ports/replica-client.js'

/** Reads an object's trailer by one ranged read of its tail, or two when it is long. Objects without one: `none`. */
export async function readTrailer(
  client: ReplicaClient,
  object: { readonly ref: ObjectRef; readonly sizeBytes: number },
  signal: AbortSignal,
): Promise<Exclude<TrailerTail, { kind: 'longer' }>> {
  const sizeBytes = await client.contentBytes(object, signal)
  let wanted = trailerTailBytes
  for (;;) {
    const offset = Math.max(0, sizeBytes - wanted)
    const tail = await collect(client.read(object.ref, { offset, length: wanted }, signal))
    const parsed = parseTrailer(tail)
    if (parsed.kind !== 'longer') return parsed
    if (parsed.lengthBytes > sizeBytes || parsed.lengthBytes <= wanted) {
      return { kind: 'unreadable', problem: 'it is longer than the object' }
    }
    wanted = parsed.lengthBytes
  }
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    parts.push(chunk)
    length += chunk.length
  }
  const whole = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
