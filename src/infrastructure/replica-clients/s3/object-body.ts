import { type Readable } from 'node:stream'

/** A body of an answer, and what is known about it. */
export interface ObjectBody {
  readonly stream: Readable
  /** Bytes that have to come; undefined: the answer did not say. */
  readonly sizeBytes: number | undefined
  /** How long a wait for bytes may take. */
  readonly noProgressMs: number
}

/** Fewer bytes than this in the time of a stall are a stall, too. */
const leastProgressBytes = 1024

/**
 * The bytes of a body. Throws when it ends early, and when nothing worth mentioning comes while it is waited for. A body that is not read to its end is destroyed.
 */
export async function* readBody(body: ObjectBody): AsyncGenerator<Uint8Array, void, undefined> {
  const { stream, sizeBytes, noProgressMs } = body
  const chunks: AsyncIterator<unknown> = stream[Symbol.asyncIterator]()
  let readBytes = 0
  let waitedMs = 0
  let progressBytes = 0
  try {
    for (;;) {
      const startedAtMs = performance.now()
      const timer = setTimeout(() => stream.destroy(stalled(noProgressMs)), noProgressMs - waitedMs)
      const step = await chunks.next().finally(() => clearTimeout(timer))
      if (step.done === true) break
      const chunk = step.value
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
      throw broken(`the body ended after ${readBytes} of ${sizeBytes} bytes`)
    }
  } finally {
    // Without this the connection stays open, with nobody to read from it.
    stream.destroy()
  }
}

function broken(message: string): Error {
  return Object.assign(new Error(message), { code: 'EBODY' })
}

function stalled(ms: number): Error {
  return Object.assign(new Error(`nothing came for ${ms} ms`), { code: 'ETIMEDOUT' })
}
