/** What the process that replicates answers for an application that serves it, by the socket that commands ask. */
import { NotRunningError } from '../../domain/errors.js'
import { isAbortError } from '../../kit/abort.js'
import { messageOf } from '../../kit/error-text.js'
import { askDaemon, type DaemonAnswer } from '../daemon/ask-daemon.js'
import { type StartedWith } from '../daemon/status-socket.js'

const timeoutMs = 10_000
const paths = ['/readyz', '/healthz', '/metrics', '/api/status'] as const

/** Answers what the daemon answers, whatever it is mounted below. */
export function handlerFor(subject: StartedWith): (request: Request) => Promise<Response> {
  return async (request) => {
    const { pathname } = new URL(request.url)
    const path = paths.find((each) => pathname.endsWith(each))
    if (path === undefined) return new Response(`see ${paths.join(', ')}\n`, { status: 404 })
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return new Response('only GET and HEAD\n', { status: 405 })
    }
    try {
      const accept = request.headers.get('accept') ?? '*/*'
      const { status, contentType, text } = await ask(subject, path, request.signal, { accept })
      const headers = { 'content-type': contentType, 'cache-control': 'no-store' }
      return new Response(request.method === 'HEAD' ? null : text, { status, headers })
    } catch (error) {
      if (!(error instanceof NotRunningError) && !isAbortError(error)) throw error
      return new Response(`${messageOf(error)}\n`, { status: 503 })
    }
  }
}

function ask(
  subject: StartedWith,
  path: string,
  signal: AbortSignal,
  headers: Readonly<Record<string, string>> = {},
): Promise<DaemonAnswer> {
  return askDaemon([subject], { method: 'GET', path, headers, timeoutMs }, signal)
}
