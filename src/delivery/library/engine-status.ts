/** What the process that replicates says of itself, also to others of the application, by the socket that commands ask. */
import { type Config } from '../../domain/settings/config.js'
import { NotRunningError } from '../../domain/errors.js'
import { type DaemonStatus } from '../../domain/status.js'
import { never } from '../../kit/abort.js'
import { askDaemon, type DaemonAnswer } from '../daemon/ask-daemon.js'
import { subjectOf } from '../daemon/endpoints.js'

const timeoutMs = 10_000
const paths = ['/readyz', '/healthz', '/metrics', '/api/status'] as const

export async function readStatus(config: Config): Promise<DaemonStatus> {
  const { text } = await ask(config, '/api/status', never)
  return JSON.parse(text) as DaemonStatus
}

/** Answers what the daemon answers, whatever it is mounted below. */
export function handlerFor(config: Config): (request: Request) => Promise<Response> {
  return async (request) => {
    const { pathname } = new URL(request.url)
    const path = paths.find((each) => pathname.endsWith(each))
    if (path === undefined) return new Response(`see ${paths.join(', ')}\n`, { status: 404 })
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return new Response('only GET and HEAD\n', { status: 405 })
    }
    try {
      const accept = request.headers.get('accept') ?? '*/*'
      const { status, contentType, text } = await ask(config, path, request.signal, { accept })
      const headers = { 'content-type': contentType, 'cache-control': 'no-store' }
      return new Response(request.method === 'HEAD' ? null : text, { status, headers })
    } catch (error) {
      if (!(error instanceof NotRunningError)) throw error
      return new Response(`${error.message}\n`, { status: 503 })
    }
  }
}

function ask(
  config: Config,
  path: string,
  signal: AbortSignal,
  headers: Readonly<Record<string, string>> = {},
): Promise<DaemonAnswer> {
  return askDaemon([subjectOf(config)], { method: 'GET', path, headers, timeoutMs }, signal)
}
