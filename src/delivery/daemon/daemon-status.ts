import { ConfigError, NotRunningError } from '../../domain/errors.js'
import { type DaemonStatus } from '../../domain/status.js'
import { parseStatusAnswer } from './answers.js'
import { askDaemon } from './ask-daemon.js'
import { type DaemonSubject } from './status-socket.js'

/** What is asked of a daemon. */
export interface StatusQuestion {
  /** Only this database; undefined: all. */
  readonly database: string | undefined
  /** How long an answer may take. */
  readonly timeoutMs: number
}

export interface AnsweredStatus extends DaemonStatus {
  /** The user whose daemon has answered, where that is neither root nor who asked: it may say what he likes. */
  readonly answeredBy: number | undefined
}

export const defaultStatusTimeoutMs = 10_000

/**
 * What the first of these daemons says of itself that answers; of one that replicates the database, where that is named. Rejects
 * with `NotRunningError` if none answers, and with `ConfigError` if none of those replicates the database.
 */
export async function readDaemonStatus(
  subjects: readonly DaemonSubject[],
  { database, timeoutMs }: StatusQuestion,
  signal: AbortSignal,
): Promise<AnsweredStatus> {
  const question = { method: 'GET', path: '/api/status', timeoutMs } as const
  const ask = async (of: readonly DaemonSubject[]): Promise<AnsweredStatus> => {
    const answer = await askDaemon(of, question, signal)
    // Whatever it says itself of that.
    return { ...parseStatusAnswer(answer), answeredBy: answer.answeredBy }
  }

  const status = await ask(subjects)
  if (database === undefined) return status
  const replicates = ({ databases }: DaemonStatus): boolean =>
    databases.some(({ path }) => path === database)
  if (replicates(status)) return onlyDatabase(status, database)
  const alone = subjects.filter((subject) => 'database' in subject)
  const other = await ask(alone).catch(ignoreNotRunning)
  if (other !== undefined && replicates(other)) return onlyDatabase(other, database)
  throw new ConfigError(`database not replicated by the daemon: ${database}`, {
    hint: `It replicates: ${status.databases.map(({ path }) => path).join(', ') || 'none'}`,
  })
}

function ignoreNotRunning(error: unknown): undefined {
  if (!(error instanceof NotRunningError)) throw error
}

function onlyDatabase(status: AnsweredStatus, path: string): AnsweredStatus {
  return {
    ...status,
    databases: status.databases.filter((database) => database.path === path),
    notReady: status.notReady.filter(({ database }) => database === path),
  }
}
