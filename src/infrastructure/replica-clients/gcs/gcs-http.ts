/** One request over Node's own client, and the bytes of its answer. */
import { Agent as HttpAgent, type IncomingMessage, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'

export interface GcsRequest {
  readonly method: 'DELETE' | 'GET' | 'POST' | 'PUT'
  readonly url: URL
  readonly headers?: Readonly<Record<string, string>>
  /** Pieces of the body, which are not changed until the request has ended. */
  readonly body?: readonly Uint8Array[]
}

export interface TlsOptions {
  /** Trusted instead of the usual ones; undefined: the usual ones. */
  readonly ca: string[] | undefined
  readonly rejectUnauthorized: boolean
}

/** Connections that are kept for the next request. */
export class GcsHttp {
  readonly #http = new HttpAgent({ keepAlive: true })
  readonly #https: HttpsAgent

  constructor({ ca, rejectUnauthorized }: TlsOptions) {
    this.#https = new HttpsAgent({
      keepAlive: true,
      rejectUnauthorized,
      ...(ca === undefined ? {} : { ca }),
    })
  }

  /** Resolves when the answer has begun. An abort ends the request, the body of the answer included. */
  send(request: GcsRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const { method, url, headers, body = [] } = request
    const isPlain = url.protocol === 'http:'
    return new Promise((resolve, reject) => {
      const options = { method, signal, headers: { ...headers, ...lengthOf(method, body) } }
      const outgoing = isPlain
        ? httpRequest(url, { ...options, agent: this.#http })
        : httpsRequest(url, { ...options, agent: this.#https })
      // Stays for as long as the request lives: what fails after the answer has begun is told by the answer's body.
      outgoing.on('error', reject)
      outgoing.on('response', (answer) => {
        answer.on('error', () => undefined)
        // An answer that comes before the whole request was sent leaves a connection that nobody can use.
        answer.on('close', () => {
          if (!outgoing.writableFinished) outgoing.destroy()
        })
        resolve(answer)
      })
      for (const piece of body) outgoing.write(piece)
      outgoing.end()
    })
  }
}

function lengthOf(
  method: GcsRequest['method'],
  body: readonly Uint8Array[],
): Readonly<Record<string, number>> {
  if (method === 'GET' || method === 'DELETE') return {}
  return { 'content-length': body.reduce((sum, { byteLength }) => sum + byteLength, 0) }
}

/** Larger than any page of a listing. */
const maxTextBytes = 16 * 1024 * 1024

/** The whole body of an answer. */
export async function readText(answer: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  for await (const chunk of bytesOf(answer)) {
    sizeBytes += chunk.byteLength
    if (sizeBytes > maxTextBytes) throw broken(`the answer is longer than ${maxTextBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Fewer bytes than this in the time of a stall are a stall, too. */
const leastProgressBytes = 1024

/**
 * Throws when a body ends early, and when nothing worth mentioning comes for `noProgressMs` while it is waited for. A body not read to
 * its end is destroyed.
 */
export async function* readBody(
  answer: IncomingMessage,
  noProgressMs: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const chunks = bytesOf(answer)
  const sizeBytes = Number(answer.headers['content-length'] ?? Number.NaN)
  let readBytes = 0
  let waitedMs = 0
  let progressBytes = 0
  try {
    for (;;) {
      const startedAtMs = performance.now()
      const timer = setTimeout(() => {
        answer.destroy(broken(`nothing came for ${noProgressMs} ms`))
      }, noProgressMs - waitedMs)
      const step = await chunks.next().finally(() => clearTimeout(timer))
      if (step.done === true) break
      waitedMs += performance.now() - startedAtMs
      progressBytes += step.value.byteLength
      if (progressBytes >= leastProgressBytes) {
        waitedMs = 0
        progressBytes = 0
      }
      readBytes += step.value.byteLength
      yield step.value
    }
    if (readBytes < sizeBytes) throw broken(`it ended after ${readBytes} of ${sizeBytes} bytes`)
  } finally {
    // Without this the connection stays open, with nobody to read from it.
    answer.destroy()
  }
}

async function* bytesOf(answer: IncomingMessage): AsyncGenerator<Uint8Array, void, undefined> {
  const chunks: AsyncIterable<unknown> = answer
  for await (const chunk of chunks) {
    if (!(chunk instanceof Uint8Array)) throw new TypeError('a body yields bytes')
    yield chunk
  }
}

function broken(message: string): Error {
  return Object.assign(new Error(message), { code: 'EBODY' })
}
