import { type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { AddressError, UsageError } from '../../domain/errors.js'
import { type DaemonStatus, type NotReady } from '../../domain/status.js'
import { summarizeComplaints } from '../../domain/summarize-complaints.js'
import { messageOf } from '../../kit/error-text.js'
import { http } from '../../kit/node-http.js'
import { type MetricsFormat } from '../../usecase/ports/metrics-format.js'
import { type ReportStatus } from '../../usecase/daemon/report-status.js'
import { type DaemonAnswer, lookedAt } from './ask-daemon.js'
import { type Control, refusal } from './control.js'
import { FewConnections } from './few-connections.js'

export interface HealthServerOptions {
  readonly report: ReportStatus
  readonly metrics: MetricsFormat
  /** What can be asked for with POST; absent: nothing. */
  readonly control?: Control
}

/** Where to listen: an address of the network, or a socket of this machine; a file has a mode. */
export type Listening =
  | { readonly host: string; readonly port: number }
  | { readonly path: string; readonly mode?: number }

const plain = 'text/plain; charset=utf-8'
const json = 'application/json; charset=utf-8'
/** A quarter of what `tsreplicate status` reads. */
const maxComplaintsLength = 16 * 1024 * 1024
const maxBodyLength = 64 * 1024
/** Whoever connects and says nothing is gone soon. */
const limits = {
  headersTimeout: 5000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
}
/** Whoever does not take his answer within this time is gone, too. */
const takenWithinMs = 10_000
/** What is taken of an answer is seen by pieces. */
const pieceBytes = 64 * 1024

/**
 * Answers /metrics, /healthz, /readyz and /api/status. Throws {@link AddressError} when the address is not to be had.
 * Disposing of it ends it at once.
 */
export async function serveHealth(
  listening: Listening,
  options: HealthServerOptions,
): Promise<{ readonly port: number | undefined } & AsyncDisposable> {
  const closed = new AbortController()
  const server = http.createServer(limits)
  const connections = new FewConnections(server)
  const answered = new WeakSet<Socket>()
  server.on('request', (request, response) => {
    const { socket } = request
    // Answers to many requests at once would all be kept in memory until they are taken.
    if (answered.has(socket)) return socket.destroy()
    answered.add(socket)
    response.once('finish', () => answered.delete(socket))
    connections.waits(socket)
    void respond(request, response, { ...options, signal: closed.signal })
      .then((answer) => send(answer, request, response, () => connections.moves(socket)))
      // Gone amid its answer.
      .catch(() => socket.destroy())
  })
  await listen(server, listening)
  const address = server.address()
  return {
    port: typeof address === 'object' ? address?.port : undefined,
    async [Symbol.asyncDispose]() {
      closed.abort()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function listen(server: Server, listening: Listening): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(addressError(listening, error)))
    withMode('mode' in listening ? listening.mode : undefined, () => {
      server.listen(listening, () => {
        server.removeAllListeners('error')
        // What fails later, like too many descriptors, concerns one connection.
        server.on('error', () => undefined)
        resolve()
      })
    })
  })
}

/** A file that `make` creates has this mode from its first moment on. */
function withMode(mode: number | undefined, make: () => void): void {
  if (mode === undefined) return make()
  const mask = process.umask(0o777 & ~mode)
  try {
    make()
  } finally {
    process.umask(mask)
  }
}

function addressError(listening: Listening, cause: NodeJS.ErrnoException): AddressError {
  const place =
    'path' in listening ? `socket ${listening.path}` : `addr ${listening.host}:${listening.port}`
  const reasons = 'path' in listening ? socketReasons : addressReasons
  const [why, hint] = reasons[cause.code ?? ''] ?? [cause.message, undefined]
  return new AddressError(`cannot listen on ${place}: ${why}`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
  })
}

const addressReasons: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  EADDRINUSE: [
    'another process listens there',
    'stop it (is it another tsreplicate?) or choose another port with addr in the configuration',
  ],
  EACCES: ['permission denied', 'ports below 1024 are for root: choose another one with addr'],
  EADDRNOTAVAIL: [
    'this machine has no such address',
    'write 127.0.0.1 for this machine only, or 0.0.0.0 for all its addresses',
  ],
  ENOTFOUND: [
    'the host is not known',
    'write 127.0.0.1 for this machine only, or 0.0.0.0 for all its addresses',
  ],
}

const socketReasons: Readonly<Record<string, readonly [why: string, hint: string]>> = {
  // Of a folder that does not exist, too: so libuv says it.
  EACCES: [
    'its folder does not exist, or no file may be created in it',
    'create the folder for the user of the daemon, or choose another path',
  ],
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  options: HealthServerOptions & { readonly signal: AbortSignal },
): Promise<DaemonAnswer> {
  try {
    return request.method === 'POST' && options.control !== undefined
      ? await act(request, response, { ...options, control: options.control })
      : await answerTo(request, options)
  } catch (error) {
    const reason = messageOf(error)
    return { status: 500, contentType: plain, text: `cannot answer: ${reason}\n` }
  }
}

/** Rejects when whoever asked is gone before he has all of it. Each part that he took is told. */
async function send(
  { status, contentType, text }: DaemonAnswer,
  { method, socket }: IncomingMessage,
  response: ServerResponse,
  onTaken: () => void,
): Promise<void> {
  const body = Buffer.from(text)
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': body.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  })
  function* pieces(): Iterable<Buffer> {
    for (let at = 0; at < body.length; at += pieceBytes) {
      onTaken()
      yield body.subarray(at, at + pieceBytes)
    }
  }
  const late = setTimeout(() => socket.destroy(), takenWithinMs)
  try {
    await pipeline(method === 'HEAD' ? [] : pieces(), response)
  } finally {
    clearTimeout(late)
    onTaken()
  }
}

/** Does what is asked for, as long as whoever asks is there. */
async function act(
  request: IncomingMessage,
  response: ServerResponse,
  { control, signal }: { readonly control: Control; readonly signal: AbortSignal },
): Promise<DaemonAnswer> {
  const action = control.get(request.url ?? '')
  if (action === undefined) {
    return { status: 404, contentType: plain, text: `see ${[...control.keys()].join(', ')}\n` }
  }
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  const answer = (status: number, body: object): DaemonAnswer => ({
    status,
    contentType: json,
    text: `${JSON.stringify(body, undefined, 2)}\n`,
  })
  try {
    const asked = await readJson(request)
    return answer(200, await action(asked, AbortSignal.any([signal, gone.signal])))
  } catch (error) {
    const { status, body } = refusal(error)
    return answer(status, body)
  }
}

/** Throws {@link UsageError} for what is no JSON, or too long. Nothing is an object without anything in it. */
async function readJson(request: IncomingMessage): Promise<unknown> {
  let text = ''
  for await (const chunk of request.setEncoding('utf8')) {
    text += String(chunk)
    if (text.length > maxBodyLength) throw new UsageError('the request is too long')
  }
  try {
    return JSON.parse(text || '{}')
  } catch (cause) {
    throw new UsageError('the request is not JSON', { cause })
  }
}

async function answerTo(
  request: IncomingMessage,
  { report, metrics, signal }: HealthServerOptions & { readonly signal: AbortSignal },
): Promise<DaemonAnswer> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return { status: 405, contentType: plain, text: 'only GET and HEAD\n' }
  }
  const [path = ''] = (request.url ?? '').split('?')
  switch (path) {
    case '/metrics': {
      return { status: 200, ...(await metrics.format(await report.status(signal))) }
    }
    case '/healthz':
      return verdict(request.headers.accept, report.hanging(), 'alive')
    case '/readyz':
      return verdict(request.headers.accept, report.notReady(), 'ready')
    case '/api/status': {
      return statusAnswer(await report.status(signal))
    }
    default: {
      return { status: 404, contentType: plain, text: `see ${lookedAt.join(', ')}\n` }
    }
  }
}

/** As `/api/status` says it: with each database that is not ready, unless that is too much for those who read it. */
export function statusAnswer(status: DaemonStatus): DaemonAnswer {
  const size = status.notReady.reduce((sum, complaint) => sum + JSON.stringify(complaint).length, 0)
  const notReady =
    size > maxComplaintsLength ? summarizeComplaints(status.notReady) : status.notReady
  const text = JSON.stringify({ ...status, notReady }, undefined, 2)
  return { status: 200, contentType: json, text: `${text}\n` }
}

/** 200 without complaints, else 503 and why: a line each, many of a kind in one, or JSON for who asks for it. */
export function verdict(
  accept: string | undefined,
  complaints: readonly NotReady[],
  ok: string,
): DaemonAnswer {
  const status = complaints.length === 0 ? 200 : 503
  const reasons = summarizeComplaints(complaints)
  if (accept?.includes('application/json') === true) {
    const body = { [ok]: complaints.length === 0, reasons }
    return { status, contentType: json, text: `${JSON.stringify(body, undefined, 2)}\n` }
  }
  const lines = reasons.map(
    ({ database, replica, reason }) =>
      `${database}${replica === undefined ? '' : ` replica ${replica}`}: ${reason}`,
  )
  return { status, contentType: plain, text: `${lines.length === 0 ? ok : lines.join('\n')}\n` }
}
