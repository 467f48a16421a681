import { setTimeout as sleep } from 'node:timers/promises'
import { type Daemon } from '../../compose/commands.js'
import { type Lifetime } from '../../compose/lifetime.js'
import { type Config } from '../../domain/settings/config.js'
import { AddressError, InUseError, TsreplicateError } from '../../domain/errors.js'
import { type Logger } from '../../usecase/ports/logger.js'
import { codeOf } from '../../kit/error-text.js'
import { askDaemon } from './ask-daemon.js'
import { controlOf, type WantedDatabase } from './control.js'
import { type HealthServerOptions, serveHealth } from './health-server.js'
import { serveSocketFile, SocketTakenError } from './socket-file.js'
import {
  type DaemonSubject,
  leaveFolder,
  makeStatusSocket,
  type StartedWith,
} from './status-socket.js'
import { parseWantedAnswer } from './answers.js'

/** How often one that is not the first looks whether it is by now. */
const turnMs = 1000

export interface Endpoints {
  readonly logger: Logger
  readonly lifetime: Lifetime
}

/**
 * Answers `tsreplicate status`, and the network if the configuration wants it. Both end with the lifetime. Where another process
 * answers commands already, that is a warning; for one that is to store and to end it is an {@link InUseError}, since it would wait
 * for that process.
 */
export async function serveDaemon(
  config: Config,
  daemon: Daemon,
  { endsOnceStored, ...endpoints }: Endpoints & { readonly endsOnceStored: boolean },
): Promise<void> {
  try {
    endpoints.lifetime.add(await serveCommands(subjectOf(config), daemon))
  } catch (err) {
    if (!(err instanceof AddressError)) throw err
    if (endsOnceStored && err instanceof SocketTakenError) {
      throw new InUseError('a daemon that runs replicates this already', {
        cause: err,
        hint: 'what is committed is stored by `tsreplicate sync -wait -now`, which asks that daemon',
      })
    }
    endpoints.logger.warn({ err }, '`tsreplicate status` is not answered by this process')
  }
  await serveConfigured(config, daemon, endpoints)
}

/**
 * As {@link serveDaemon}, for one of several processes with the same configuration: whoever has its socket is the one that
 * is asked, and serves the rest. So it has to be the one that replicates: the others leave to it what it wants. Resolves when it is known
 * whether that is this one; if not, it tries again until `stop`.
 */
export async function serveInTurn(
  config: Config,
  daemon: Daemon,
  {
    subject,
    leave,
    stop,
    ...endpoints
  }: Endpoints & {
    /** By what it is asked for. */
    readonly subject: StartedWith
    /** Is told of the databases that the first one wants, if that is another one. */
    readonly leave: (databases: readonly WantedDatabase[] | 'all') => void
    readonly stop: AbortSignal
  },
): Promise<{ readonly isFirst: boolean }> {
  const state = { isFirst: false }
  let left: readonly WantedDatabase[] | 'all' = 'all'
  const attempt = async (): Promise<boolean> => {
    try {
      endpoints.lifetime.add(await serveCommands(subject, daemon))
      state.isFirst = true
    } catch (err) {
      if (!(err instanceof AddressError)) throw err
      // Where nobody can have a socket, nobody is waited for.
      if (!(err instanceof SocketTakenError)) leave([])
      else {
        left = (await wantedBy(subject, stop)) ?? left
        leave(left)
      }
      return false
    }
    leave([])
    await serveConfigured(config, daemon, endpoints)
    return true
  }
  if (!(await attempt())) void tryAgain(attempt, { ...endpoints, stop })
  return state
}

const wantedMs = 5000

/** What a daemon is to replicate. Undefined: it does not say, and is ending, or hangs. */
export async function wantedBy(
  subject: DaemonSubject,
  signal: AbortSignal,
): Promise<readonly WantedDatabase[] | undefined> {
  try {
    const question = { method: 'POST', path: '/api/wanted', body: {}, timeoutMs: wantedMs } as const
    return parseWantedAnswer(await askDaemon([subject], question, signal))
  } catch (error) {
    if (error instanceof TsreplicateError) return undefined
    throw error
  }
}

async function tryAgain(
  attempt: () => Promise<boolean>,
  { stop, logger }: { readonly stop: AbortSignal; readonly logger: Logger },
): Promise<void> {
  try {
    do await sleep(turnMs, undefined, { signal: stop, ref: false })
    while (!(await attempt()))
  } catch (err) {
    if (!stop.aborted) logger.error({ err }, 'cannot serve what is configured')
  }
}

/** Whoever asks for this daemon, asks for it by this. */
export function subjectOf({ source, databases }: Config): StartedWith {
  return source === undefined ? { database: databases[0]?.path ?? '' } : { config: source }
}

/** Another daemon that ends may take the folder away just before its socket is made: Node.js says EACCES of that. */
const maxFolders = 3

async function serveCommands(subject: StartedWith, daemon: Daemon): Promise<AsyncDisposable> {
  for (let tries = 1; ; tries += 1) {
    const path = makeStatusSocket(subject)
    try {
      const socket = await serveSocketFile({ path, mode: 0o600 }, localOf(daemon))
      return {
        async [Symbol.asyncDispose]() {
          await socket[Symbol.asyncDispose]()
          leaveFolder(path)
        },
      }
    } catch (error) {
      const isGone = error instanceof AddressError && codeOf(error.cause) === 'EACCES'
      if (!isGone || tries === maxFolders) throw error
    }
  }
}

function localOf({ report, metrics, replication }: Daemon): HealthServerOptions {
  return { report, metrics, control: controlOf(replication) }
}

async function serveConfigured(
  { addr, socket }: Config,
  daemon: Daemon,
  { logger, lifetime }: Endpoints,
): Promise<void> {
  const { report, metrics } = daemon
  if (addr !== undefined) {
    const { port = addr.port } = lifetime.add(await serveHealth(addr, { report, metrics }))
    const host = addr.host.includes(':') ? `[${addr.host}]` : addr.host
    logger.info({ url: `http://${host}:${port}/metrics` }, 'serving metrics on')
  }
  if (socket !== undefined) {
    lifetime.add(await serveSocketFile(socket, localOf(daemon)))
    logger.info({ socket: socket.path }, 'answering tsreplicate status on')
  }
}
