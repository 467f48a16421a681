import { NotRunningError } from '../../domain/errors.js'
import { isAbortError } from '../../kit/abort.js'
import { http } from '../../kit/node-http.js'
import { type DaemonSubject, statusSocket } from './status-socket.js'

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
}

/** The answer of the first that answers. Throws {@link NotRunningError} if none does. */
export async function askDaemon(
  subjects: readonly DaemonSubject[],
  request: DaemonRequest,
  signal: AbortSignal,
): Promise<DaemonAnswer> {
  for (const subject of subjects) {
    const answer = await ask(subject, request, signal)
    if (answer !== undefined) return answer
  }
  const names = subjects.map((subject) => {
    if ('socket' in subject) return `at ${subject.socket}`
    return 'config' in subject ? `with ${subject.config}` : `for ${subject.database} alone`
  })
  throw new NotRunningError(`no daemon is running ${names.join(' or ')}`, {
    hint: 'start it with `tsreplicate replicate`; for one in another container, run this command there, or give both -socket',
  })
}

/** Undefined: nobody answers there. */
function ask(
  subject: DaemonSubject,
  { method, path, headers = {}, body, timeoutMs }: DaemonRequest,
  signal: AbortSignal,
): Promise<DaemonAnswer | undefined> {
  return new Promise((resolve, reject) => {
    const { path: socketPath } = statusSocket(subject)
    const asked = http.request({
      ...{ socketPath, method, path, headers, signal },
      timeout: timeoutMs,
    })
    asked.on('timeout', () => {
      asked.destroy(
        new NotRunningError(`the daemon does not answer within ${timeoutMs / 1000} s`, {
          hint: 'it may hang: look at its log',
        }),
      )
    })
    asked.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined)
      else if (isAbortError(error) || error instanceof NotRunningError) reject(error)
      else {
        const message = `the daemon cannot be asked at ${socketPath}: ${error.message}`
        const hint = 'a socket file is for the user of the daemon, if it has no other permissions'
        reject(new NotRunningError(message, { cause: error, hint }))
      }
    })
    asked.on('response', (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () => {
        const { statusCode: status = 0, headers } = response
        resolve({ status, contentType: headers['content-type'] ?? '', text })
      })
      response.on('error', reject)
    })
    asked.end(body === undefined ? undefined : JSON.stringify(body))
  })
}
