/** The bytes of a downloaded blob, with a guard against a connection that goes on saying nothing. */

/** A body of an answer: Node's stream, of which only this is used. */
export interface BodyStream extends AsyncIterable<unknown> {
  destroy(error?: Error): unknown
}

/** Fewer bytes than this in the time of a stall are a stall, too. */
const leastProgressBytes = 1024

/** Throws when a body ends early, and when nothing worth mentioning comes while it is waited for. A body not read to its end is destroyed. */
export async function* readBody(
  stream: BodyStream,
  { sizeBytes, noProgressMs }: { sizeBytes: number; noProgressMs: number },
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
      if (!(step.value instanceof Uint8Array)) throw new TypeError('a body yields bytes')
      waitedMs += performance.now() - startedAtMs
      progressBytes += step.value.byteLength
      if (progressBytes >= leastProgressBytes) {
        waitedMs = 0
        progressBytes = 0
      }
      readBytes += step.value.byteLength
      yield step.value
    }
    if (readBytes !== sizeBytes) {
      throw Object.assign(new Error(`the body ended after ${readBytes} of ${sizeBytes} bytes`), {
        code: 'EBODY',
      })
    }
  } finally {
    stream.destroy()
  }
}

function stalled(ms: number): Error {
  return Object.assign(new Error(`nothing came for ${ms} ms`), { code: 'ETIMEDOUT' })
}
