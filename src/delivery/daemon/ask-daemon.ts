import { lstatSync } from 'node:fs'
import { NotRunningError } from '../../domain/errors.js'
import { isAbortError } from '../../kit/abort.js'
import { codeOf } from '../../kit/error-text.js'
import { http } from '../../kit/node-http.js'
import { type DaemonSubject, statusSockets } from './status-socket.js'

/** Of a thousand databases it is a few megabytes. */
const maxAnswerLength = 64 * 1024 * 1024

/** What can be looked at; nothing is done by that. */
export const lookedAt = ['/metrics', '/healthz', '/readyz', '/api/status'] as const

export interface Look {
  readonly path: (typeof lookedAt)[number]
  /** Which form is wanted, as in a request. */
  readonly accept: string | undefined
}

export interface DaemonRequest {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly body?: object
  /** How long an answer may take. */
  readonly timeoutMs: number
}

export interface DaemonAnswer {
  readonly status: number
  readonly contentType: string
  readonly text: string
  /** Whose daemon has answered, where that is neither root nor who asked. */
  readonly answeredBy?: number
}

/** Somebody has the socket, and does not answer, or not to the end: it may do what it was asked to all the same. */
export class UnansweredError extends NotRunningError {}

/** The answer of the first that answers. Throws {@link NotRunningError} if none does. */
export async function askDaemon(
  subjects: readonly DaemonSubject[],
  request: DaemonRequest,
  signal: AbortSignal,
): Promise<DaemonAnswer> {
  const sockets = new Set(subjects.flatMap((subject) => statusSockets(subject)))
  let denied: NotRunningError | undefined
  for (const socket of sockets) {
    try {
      const answer = await ask(socket, request, signal)
      const answeredBy = otherUserOf(socket)
      if (answer !== undefined)
        return { ...answer, ...(answeredBy === undefined ? {} : { answeredBy }) }
    } catch (error) {
      // A daemon of root, and there may be one of this user.
      if (!(error instanceof NotRunningError) || codeOf(error.cause) !== 'EACCES') throw error
      denied ??= error
    }
  }
  if (denied !== undefined) throw denied
  const names = subjects.map((subject) => {
    if ('socket' in subject) return `at ${subject.socket}`
    return 'config' in subject ? `with ${subject.config}` : `for ${subject.database} alone`
  })
  throw new NotRunningError(`no daemon is running ${names.join(' or ')}`, {
    hint: 'start it with `tsreplicate replicate`; one of another user is asked as that user or as root, and one in another container by -socket, which both get',
  })
}

/** Whose socket it is, if not that of root or of who asks. */
function otherUserOf(socket: string): number | undefined {
  const uid = lstatSync(socket, { throwIfNoEntry: false })?.uid
  return uid === 0 || uid === process.geteuid?.() ? undefined : uid
}

/** As {@link askDaemon}, what can be looked at. */
export async function lookAtDaemon(
  subject: DaemonSubject,
  { path, accept }: Look,
  { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<DaemonAnswer> {
  const headers = accept === undefined ? {} : { accept }
  return askDaemon([subject], { method: 'GET', path, headers, timeoutMs }, signal)
}

/** Undefined: nobody answers there. */
function ask(
  socketPath: string,
  { method, path, headers = {}, body, timeoutMs }: DaemonRequest,
  signal: AbortSignal,
): Promise<DaemonAnswer | undefined> {
  return new Promise((resolve, reject) => {
    const asked = http.request({ socketPath, method, path, headers, signal })
    // All of the answer: one that comes byte by byte keeps nobody waiting.
    const giveUp = (message: string): void => {
      reject(new UnansweredError(message, { hint: 'it may hang: look at its log' }))
      asked.destroy()
    }
    const late = setTimeout(() => {
      giveUp(`the daemon at ${socketPath} does not answer within ${timeoutMs / 1000} s`)
    }, timeoutMs)
    const fail = (message: string, { cause, hint }: { cause: Error; hint: string }): void => {
      const isOurs = isAbortError(cause) || cause instanceof NotRunningError
      reject(isOurs ? cause : new NotRunningError(`${message}: ${cause.message}`, { cause, hint }))
    }
    asked.on('close', () => clearTimeout(late))
    asked.on('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ECONNREFUSED' || cause.code === 'ENOENT') return resolve(undefined)
      const hint =
        'a socket is for the user of the daemon and for root, unless `socket` gives it other permissions'
      fail(`the daemon cannot be asked at ${socketPath}`, { cause, hint })
    })
    asked.on('response', (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
        if (text.length > maxAnswerLength) {
          giveUp(`the answer of the daemon at ${socketPath} does not end`)
        }
      })
      response.on('end', () => {
        const { statusCode: status = 0, headers } = response
        resolve({ status, contentType: headers['content-type'] ?? '', text })
      })
      response.on('error', (cause) => {
        const hint = 'it was killed, or has ended: look at its log'
        fail(`the daemon at ${socketPath} is gone amid its answer`, { cause, hint })
      })
    })
    asked.end(body === undefined ? undefined : JSON.stringify(body))
  })
}
