/** The bytes of an answer, with a guard against a connection that goes on saying nothing. */

/** A body of an answer: Node's stream, of which only this is used. */
export interface BodyStream extends AsyncIterable<unknown> {
  destroy(error?: Error): unknown
}

/** Fewer bytes than this in the time of a stall are a stall, too. */
const leastProgressBytes = 1024

/**
 * Throws when a body ends early, and when nothing worth mentioning comes for `noProgressMs` while it is waited for. A body
 * that is not read to its end is destroyed. `sizeBytes` is what has to come; undefined: the answer did not say.
 */
export async function* watchedBody(
  stream: BodyStream,
  {
    sizeBytes,
    noProgressMs,
  }: { readonly sizeBytes: number | undefined; readonly noProgressMs: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  const chunks = stream[Symbol.asyncIterator]()
  let readBytes = 0
  let waitedMs = 0
  let progressBytes = 0
  try {
    for (;;) {
      const startedAtMs = performance.now()
      const timer = setTimeout(() => stream.destroy(stalled(noProgressMs)), noProgressMs - waitedMs)
      const step = await chunks.next().finally(() => clearTimeout(timer))
      if (step.done === true) break
      const chunk: unknown = step.value
      if (!(chunk instanceof Uint8Array)) throw new TypeError('a body yields bytes')
      waitedMs += performance.now() - startedAtMs
      progressBytes += chunk.byteLength
      if (progressBytes >= leastProgressBytes) {
        waitedMs = 0
        progressBytes = 0
      }
      readBytes += chunk.byteLength
      yield chunk
    }
    if (sizeBytes !== undefined && readBytes !== sizeBytes) {
      throw brokenBody(`the body ended after ${readBytes} of ${sizeBytes} bytes`)
    }
  } finally {
    // Without this the connection stays open, with nobody to read from it.
    stream.destroy()
  }
}

/** What comes of a body that is not what it should be. */
export function brokenBody(message: string): Error {
  return Object.assign(new Error(message), { code: 'EBODY' })
}

function stalled(ms: number): Error {
  return Object.assign(new Error(`no data came for ${ms} ms`), { code: 'ETIMEDOUT' })
}
