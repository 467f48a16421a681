/** What the process that replicates answers, for an application that serves it. */
import { NotRunningError } from '../../domain/errors.js'
import { isAbortError } from '../../kit/abort.js'
import { messageOf } from '../../kit/error-text.js'
import { type DaemonAnswer, type Look, lookedAt } from '../daemon/ask-daemon.js'

/** Passes a request on, whatever it is mounted below. */
export function handlerFor(
  answer: (look: Look, signal: AbortSignal) => Promise<DaemonAnswer>,
): (request: Request) => Promise<Response> {
  return async (request) => {
    const { pathname } = new URL(request.url)
    const path = lookedAt.find((each) => pathname.endsWith(each))
    if (path === undefined) return new Response(`see ${lookedAt.join(', ')}\n`, { status: 404 })
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return new Response('only GET and HEAD\n', { status: 405 })
    }
    try {
      const accept = request.headers.get('accept') ?? undefined
      const { status, contentType, text } = await answer({ path, accept }, request.signal)
      const headers = { 'content-type': contentType, 'cache-control': 'no-store' }
      return new Response(request.method === 'HEAD' ? null : text, { status, headers })
    } catch (error) {
      if (!(error instanceof NotRunningError) && !isAbortError(error)) throw error
      return new Response(`${messageOf(error)}\n`, { status: 503 })
    }
  }
}
