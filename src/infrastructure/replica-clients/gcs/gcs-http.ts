/** One request over Node's own client, and the bytes of its answer. */
import { type IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { http } from '../../../kit/node-http.js'
import { type Agents } from '../object-store/agents.js'
import { brokenBody } from '../object-store/watched-body.js'

export interface GcsRequest {
  readonly method: 'DELETE' | 'GET' | 'POST' | 'PUT'
  readonly url: URL
  readonly headers?: Readonly<Record<string, string>>
  /** Pieces of the body, which are not changed until the request has ended. */
  readonly body?: readonly Uint8Array[]
}

/** Resolves when the answer has begun. An abort ends the request, the body of the answer included. */
export function sendRequest(
  { httpAgent, httpsAgent }: Agents,
  request: GcsRequest,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { method, url, headers, body = [] } = request
  const isPlain = url.protocol === 'http:'
  return new Promise((resolve, reject) => {
    const options = { method, signal, headers: { ...headers, ...lengthOf(method, body) } }
    const outgoing = isPlain
      ? http.request(url, { ...options, agent: httpAgent })
      : httpsRequest(url, { ...options, agent: httpsAgent })
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
    if (sizeBytes > maxTextBytes)
      throw brokenBody(`the answer is longer than ${maxTextBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

async function* bytesOf(answer: IncomingMessage): AsyncGenerator<Uint8Array, void, undefined> {
  const chunks: AsyncIterable<unknown> = answer
  for await (const chunk of chunks) {
    if (!(chunk instanceof Uint8Array)) throw new TypeError('a body yields bytes')
    yield chunk
  }
}
