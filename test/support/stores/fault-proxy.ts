/**
 * A proxy in front of a real store that does to requests what networks and stores do: delays, slows down, cuts, resets,
 * swallows, answers with errors, changes answers. It leaves the Host header alone, which signatures cover.
 */
import { once } from 'node:events'
import {
  Agent,
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request as forward,
  type Server,
  type ServerResponse,
} from 'node:http'
import { type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** What a request is for, in the words of no vendor. */
export type RequestKind =
  'list' | 'list-uploads' | 'read' | 'write' | 'begin' | 'part' | 'finish' | 'delete' | 'other'

export interface ProxiedRequest {
  readonly kind: RequestKind
  readonly method: string
  /** Path and query. */
  readonly url: string
  readonly headers: IncomingHttpHeaders
  /** Counted from 0, over all requests of the proxy. */
  readonly number: number
  readonly atMs: number
}

export interface Answer {
  readonly status: number
  readonly headers?: OutgoingHttpHeaders
  readonly body?: string
}

/** What happens to a request. Absent: it passes. */
export interface Fault {
  /** Before it is passed on. */
  readonly latencyMs?: number
  /** Of its body and of its answer's. */
  readonly bytesPerSecond?: number
  /** The connection is cut after so many bytes of the request's body; the store sees half a request. */
  readonly cutRequestAfterBytes?: number
  /** The connection is cut after so many bytes of the answer's body. */
  readonly cutAnswerAfterBytes?: number
  /** The answer ends there as if it were whole. */
  readonly endAnswerAfterBytes?: number
  /** The connection is reset: before the store sees the request, or when it has carried it out. */
  readonly reset?: 'before' | 'after'
  /** Nothing ever comes: the store does not see the request, or it does and its answer's body stops after so many bytes. */
  readonly stall?: 'before' | { readonly answerAfterBytes: number }
  /** Given without asking the store. */
  readonly answer?: Answer
  /** Changes the body of a success. */
  readonly rewrite?: (body: string) => string
}

export type Rule = (request: ProxiedRequest) => Fault | undefined

export interface FaultProxy extends AsyncDisposable {
  /** With the path of the store's own endpoint. */
  readonly endpoint: string
  readonly requests: readonly ProxiedRequest[]
  /** What comes from now on is treated so; undefined: it passes. Requests that are stalled stay so. */
  follow(rule: Rule | undefined): void
  /** Nobody listens any more, and all connections are reset; `true` again: as before, at the same address. */
  listen(listens: boolean): Promise<void>
}

export async function startFaultProxy(storeEndpoint: string): Promise<FaultProxy> {
  const store = new URL(storeEndpoint)
  const agent = new Agent({ keepAlive: true, maxSockets: 256 })
  const requests: ProxiedRequest[] = []
  let rule: Rule | undefined
  const server = createServer((incoming, outgoing) => {
    const request = describe(incoming, requests.length)
    requests.push(request)
    const fault = rule?.(request) ?? {}
    pass({ incoming, outgoing, fault, store, agent }).catch(() => outgoing.destroy())
  })
  server.keepAliveTimeout = 60_000
  await listen(server, 0)
  const { port } = server.address() as AddressInfo
  const hangUp = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  }
  return {
    endpoint: `http://127.0.0.1:${port}${store.pathname.replace(/\/$/, '')}`,
    requests,
    follow: (next) => (rule = next),
    listen: async (listens) => {
      if (listens && !server.listening) await listen(server, port)
      if (!listens && server.listening) await hangUp()
    },
    [Symbol.asyncDispose]: async () => {
      if (server.listening) await hangUp()
      agent.destroy()
    },
  }
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject)
      resolve()
    })
  })
}

function describe(incoming: IncomingMessage, number: number): ProxiedRequest {
  const { method = '', url = '', headers } = incoming
  const kind = kindOf(method, new URL(url, 'http://store'), headers)
  return { kind, method, url, headers, number, atMs: performance.now() }
}

function kindOf(method: string, url: URL, headers: IncomingHttpHeaders): RequestKind {
  const query = url.searchParams
  const range = headers['content-range'] ?? ''
  switch (method) {
    case 'GET':
      if (query.has('uploads')) return 'list-uploads'
      if (query.has('list-type') || query.get('comp') === 'list') return 'list'
      return /^\/storage\/v1\/b\/[^/]+\/o$/.test(url.pathname) ? 'list' : 'read'
    case 'PUT':
      if (query.has('partNumber') || query.get('comp') === 'block') return 'part'
      if (query.get('comp') === 'blocklist') return 'finish'
      if (query.has('upload_id')) return /\/\d+$/.test(range) ? 'finish' : 'part'
      return 'write'
    case 'POST':
      if (query.has('uploads') || query.get('uploadType') === 'resumable') return 'begin'
      if (query.has('uploadId')) return 'finish'
      if (query.has('delete')) return 'delete'
      return query.get('uploadType') === 'multipart' ? 'write' : 'other'
    case 'DELETE':
      return query.has('uploadId') || query.has('upload_id') ? 'other' : 'delete'
    default:
      return 'other'
  }
}

interface Passing {
  readonly incoming: IncomingMessage
  readonly outgoing: ServerResponse
  readonly fault: Fault
  readonly store: URL
  readonly agent: Agent
}

async function pass({ incoming, outgoing, fault, store, agent }: Passing): Promise<void> {
  const reset = (): void => void incoming.socket.resetAndDestroy()
  if (fault.latencyMs !== undefined) await sleep(fault.latencyMs)
  if (fault.reset === 'before') return reset()
  if (fault.stall === 'before') {
    incoming.resume()
    return
  }
  if (fault.answer !== undefined) return give(incoming, outgoing, fault.answer)
  const onward = forward({
    host: store.hostname,
    port: store.port,
    method: incoming.method ?? 'GET',
    path: incoming.url ?? '/',
    headers: incoming.headers,
    agent,
  })
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    onward.once('response', resolve)
    onward.once('error', reject)
  })
  answered.catch(() => undefined)
  outgoing.once('close', () => {
    if (!outgoing.writableFinished) onward.destroy()
  })
  const cut = { afterBytes: fault.cutRequestAfterBytes, bytesPerSecond: fault.bytesPerSecond }
  for await (const chunk of paced(incoming, cut)) {
    if (!onward.write(chunk)) await drained(onward, answered)
  }
  if (cut.afterBytes !== undefined && !incoming.readableEnded) {
    onward.destroy()
    return reset()
  }
  onward.end()
  const answer = await answered
  if (fault.reset === 'after') {
    answer.resume()
    return reset()
  }
  await giveBack(answer, outgoing, fault, reset)
}

/** Without reading on where nobody reads: a store that has refused a request takes no more of it. */
async function drained(
  onward: ReturnType<typeof forward>,
  answered: Promise<unknown>,
): Promise<void> {
  await Promise.race([new Promise((resolve) => onward.once('drain', resolve)), answered])
}

async function give(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { status, headers = {}, body = '' }: Answer,
): Promise<void> {
  incoming.resume()
  if (!incoming.readableEnded) await once(incoming, 'end')
  outgoing.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) })
  outgoing.end(incoming.method === 'HEAD' ? undefined : body)
}

async function giveBack(
  answer: IncomingMessage,
  outgoing: ServerResponse,
  fault: Fault,
  reset: () => void,
): Promise<void> {
  const status = answer.statusCode ?? 500
  const headers = { ...answer.headers, ...forwardedLocation(answer, outgoing) }
  if (fault.rewrite !== undefined && status < 300) {
    const chunks: Buffer[] = []
    for await (const chunk of answer) chunks.push(chunk as Buffer)
    const body = fault.rewrite(Buffer.concat(chunks).toString())
    const rest = Object.entries(headers).filter(([name]) => name !== 'transfer-encoding')
    const length = { 'content-length': Buffer.byteLength(body) }
    outgoing.writeHead(status, { ...Object.fromEntries(rest), ...length })
    outgoing.end(body)
    return
  }
  const ends = fault.endAnswerAfterBytes
  const stalls = typeof fault.stall === 'object' ? fault.stall.answerAfterBytes : undefined
  const afterBytes = fault.cutAnswerAfterBytes ?? ends ?? stalls
  const isCut = afterBytes !== undefined && Number(headers['content-length'] ?? 0) > afterBytes
  const shown = isCut && ends !== undefined ? { ...headers, 'content-length': ends } : headers
  outgoing.writeHead(status, shown)
  outgoing.flushHeaders()
  const limits = { afterBytes, bytesPerSecond: fault.bytesPerSecond }
  for await (const chunk of paced(answer, limits)) {
    if (!outgoing.write(chunk)) await new Promise((resolve) => outgoing.once('drain', resolve))
  }
  if (!isCut || ends !== undefined) {
    outgoing.end()
    return
  }
  answer.destroy()
  // What was written is to arrive before the reset.
  if (stalls === undefined) setTimeout(reset, 20)
}

/** Where the store says to go on: through here, too. */
function forwardedLocation(answer: IncomingMessage, outgoing: ServerResponse): OutgoingHttpHeaders {
  const { location } = answer.headers
  if (location === undefined || !URL.canParse(location)) return {}
  const { pathname, search } = new URL(location)
  return { location: `http://${outgoing.req.headers.host ?? ''}${pathname}${search}` }
}

/** The chunks of a body up to a number of bytes, no faster than so many a second. */
async function* paced(
  body: IncomingMessage,
  limits: { readonly afterBytes: number | undefined; readonly bytesPerSecond: number | undefined },
): AsyncIterable<Buffer> {
  const { afterBytes = Infinity, bytesPerSecond } = limits
  let left = afterBytes
  if (left <= 0) return
  for await (const value of body.iterator({ destroyOnReturn: false })) {
    let chunk = value as Buffer
    if (chunk.byteLength > left) chunk = chunk.subarray(0, left)
    left -= chunk.byteLength
    if (bytesPerSecond === undefined) yield chunk
    else {
      const step = Math.max(1, Math.floor(bytesPerSecond / 10))
      for (let at = 0; at < chunk.byteLength; at += step) {
        const piece = chunk.subarray(at, at + step)
        await sleep((piece.byteLength / bytesPerSecond) * 1000)
        yield piece
      }
    }
    if (left <= 0) return
  }
}

/** A refusal in the words of S3 and of Azure. */
export function refusal(status: number, code: string): Answer {
  return {
    status,
    headers: { 'content-type': 'application/xml', 'x-ms-error-code': code },
    body: `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>the test says so</Message></Error>`,
  }
}

const listedEntry = /<(Contents|Blob)>[\s\S]*?<\/\1>/g

/** A page of a listing with its objects in another order, or without some of them. */
export function rewriteListing(page: string, change: <T>(entries: T[]) => T[]): string {
  if (page.startsWith('{')) {
    const content = JSON.parse(page) as { items?: unknown[] }
    return JSON.stringify({ ...content, items: change(content.items ?? []) })
  }
  const entries = page.match(listedEntry) ?? []
  const changed = change([...entries])
  let at = 0
  return page.replace(listedEntry, () => changed[at++] ?? '')
}
