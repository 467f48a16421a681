/** What the process that replicates answers for an application that serves it, by the socket that commands ask. */
import { NotRunningError } from '../../domain/errors.js'
import { type DaemonStatus } from '../../domain/status.js'
import { isAbortError } from '../../kit/abort.js'
import { messageOf } from '../../kit/error-text.js'
import { askDaemon, type DaemonAnswer } from '../daemon/ask-daemon.js'
import { parseStatusAnswer } from '../daemon/answers.js'
import { statusAnswer, verdict } from '../daemon/health-server.js'
import { type StartedWith } from '../daemon/status-socket.js'

const timeoutMs = 10_000
const paths = ['/readyz', '/healthz', '/metrics', '/api/status'] as const

/**
 * Answers what the daemon answers, whatever it is mounted below; with what this process replicates `beside` it, where that is
 * asked how everything is.
 */
export function handlerFor(
  subject: StartedWith,
  beside: () => Promise<DaemonStatus | undefined>,
): (request: Request) => Promise<Response> {
  return async (request) => {
    const { pathname } = new URL(request.url)
    const path = paths.find((each) => pathname.endsWith(each))
    if (path === undefined) return new Response(`see ${paths.join(', ')}\n`, { status: 404 })
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return new Response('only GET and HEAD\n', { status: 405 })
    }
    try {
      const accept = request.headers.get('accept') ?? '*/*'
      const question = { path, accept, beside: await beside() }
      const { status, contentType, text } = await ask(subject, question, request.signal)
      const headers = { 'content-type': contentType, 'cache-control': 'no-store' }
      return new Response(request.method === 'HEAD' ? null : text, { status, headers })
    } catch (error) {
      if (!(error instanceof NotRunningError) && !isAbortError(error)) throw error
      return new Response(`${messageOf(error)}\n`, { status: 503 })
    }
  }
}

/** What the process that is asked says, and what another one replicates beside it. */
export function withBeside(first: DaemonStatus, beside: DaemonStatus | undefined): DaemonStatus {
  if (beside === undefined) return first
  const known = new Set(first.databases.map(({ path }) => path))
  const others = beside.databases.filter(({ path }) => !known.has(path))
  return {
    ...first,
    notReady: [...first.notReady, ...beside.notReady],
    databases: [...first.databases, ...others],
  }
}

interface Question {
  readonly path: (typeof paths)[number]
  readonly accept: string
  readonly beside: DaemonStatus | undefined
}

async function ask(
  subject: StartedWith,
  { path, accept, beside }: Question,
  signal: AbortSignal,
): Promise<DaemonAnswer> {
  const askFor = (of: string): Promise<DaemonAnswer> =>
    askDaemon([subject], { method: 'GET', path: of, headers: { accept }, timeoutMs }, signal)
  const isOfAll = path === '/readyz' || path === '/api/status'
  if (beside === undefined || !isOfAll) return askFor(path)
  const whole = withBeside(parseStatusAnswer(await askFor('/api/status')), beside)
  const { body, ...answer } =
    path === '/readyz' ? verdict(accept, whole.notReady, 'ready') : statusAnswer(whole)
  return { ...answer, text: body }
}
