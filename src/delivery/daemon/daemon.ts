import { isAbortError } from '../../kit/abort.js'
import { type Logger } from '../../usecase/ports/logger.js'
import { type NotStored } from '../../domain/errors.js'
import { type Captured } from '../../usecase/daemon/commit-waits.js'
import { type ReplicatedDatabase } from '../../usecase/daemon/replicated-database.js'
import { type Replication } from '../../usecase/daemon/replicated-databases.js'
import { takeHangup } from './early-signals.js'
import { type ExecutedProgram } from './executed-program.js'
import { MemoryThrift } from './memory-thrift.js'
import { type Service } from './service.js'
import { exitCodes } from '../exit-codes.js'
import { exitAtOnce, exitIfHanging } from '../forced-exit.js'

/** Who passes a signal on to a process that has it already (npx, timeout) makes it arrive twice. */
const sameSignalMs = 300
const endingSignals = ['SIGINT', 'SIGTERM'] as const
/** What else programs understand, and what would end us and leave them alone. */
const passedOnSignals = ['SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const

export type DaemonReplication = Pick<
  Replication,
  'run' | 'settled' | 'stored' | 'notStored' | 'databases' | 'failing' | 'neverBegun'
>

export interface DaemonOptions {
  readonly logger: Logger
  readonly shutdownTimeoutMs: number
  /** How long the first sync may hold up who waits for the start, and the program of `exec`. */
  readonly firstSyncTimeoutMs: number
  readonly service: Service
  /** Reads the configuration again at SIGHUP; it never rejects. Undefined: SIGHUP ends the daemon. */
  readonly reload?: (() => Promise<void>) | undefined
  /** Runs beside it until it stops. */
  readonly watch?: (stop: AbortSignal) => Promise<void>
  /** Runs meanwhile: its end is ours, and its exit code, too. */
  readonly exec?: ExecutedProgram
  /** It ends when all that is committed is stored, or after that long. Absent: it goes on. */
  readonly once?: Once | undefined
}

interface Once {
  readonly timeoutMs: number | undefined
  /** With a snapshot of each database that exists. */
  readonly withSnapshot: boolean
}

/**
 * Runs until SIGINT or SIGTERM (or SIGHUP, when there is nothing to reload), or until the program of `exec` has ended, or once all is stored, if that is wanted; then stores what is captured for at most
 * `shutdownTimeoutMs`; a second signal ends the process at once. Returns the exit code.
 */
export async function runDaemon(
  replication: DaemonReplication,
  options: DaemonOptions,
): Promise<number> {
  const { logger, exec, once, service, reload, watch } = options
  const shutdown = new Shutdown(options)
  const thrift = new MemoryThrift()
  const reloading = async (): Promise<void> => {
    if (reload !== undefined && !shutdown.stop.aborted) await service.reload(reload, replication)
  }
  const passOn = (signal: NodeJS.Signals): void => exec?.signal(signal, { ends: false })
  for (const signal of endingSignals) process.on(signal, shutdown.onSignal)
  if (exec !== undefined) for (const signal of passedOnSignals) process.on(signal, passOn)
  const onHangup = reload === undefined ? shutdown.onSignal : inTurn(reloading)
  if (exec === undefined) process.on('SIGHUP', onHangup)
  try {
    // Not waited for at the end: a disk that does not answer would hold it up.
    void watch?.(shutdown.stop)
    const running = run(replication, shutdown.stop, shutdown.kill)
    void tellStarted(replication, options, shutdown.stop)
    const isWhole = once === undefined || endOnceStored(replication, shutdown, { ...once, logger })
    // One that came while there was nobody to heed it; a program of `exec` did not run then.
    if (takeHangup() && exec === undefined) onHangup('SIGHUP')
    const executed = exec === undefined ? 0 : execute(replication, exec, shutdown, options)
    const [notStored, programCode, hasSnapshots] = await Promise.all([running, executed, isWhole])
    for (const { database, replica, detail } of notStored) {
      logger.error({ db: database, replica, detail }, 'not stored')
    }
    if (notStored.length === 0 && hasSnapshots && !shutdown.kill.aborted) {
      logger.info({}, 'tsreplicate shut down')
      return programCode
    }
    return programCode === 0 ? exitCodes.notStored.code : programCode
  } finally {
    shutdown.begin()
    await exec?.end()
    shutdown.settle()
    await service.end()
    process.off('SIGHUP', onHangup)
    for (const signal of endingSignals) process.off(signal, shutdown.onSignal)
    for (const signal of passedOnSignals) process.off(signal, passOn)
    thrift.end()
    logger.debug({ 'rss-peak-bytes': process.resourceUsage().maxRSS * 1024 }, 'resources used')
  }
}

/** Ready is who has stored each database that exists once, or has tried for long enough. */
async function tellStarted(
  replication: DaemonReplication,
  { service, firstSyncTimeoutMs }: DaemonOptions,
  stop: AbortSignal,
): Promise<void> {
  const over = AbortSignal.any([stop, AbortSignal.timeout(firstSyncTimeoutMs)])
  await replication.settled(over)
  await replication.stored(over)
  if (!stop.aborted) service.ready(replication)
}

/** Does the work whenever it is called, one time after the other; calls while it waits for its turn are one. */
function inTurn(work: () => Promise<void>): () => void {
  let state: 'idle' | 'working' | 'again' = 'idle'
  const wasCalled = (): boolean => state === 'again'
  const go = async (): Promise<void> => {
    do {
      state = 'working'
      await work()
    } while (wasCalled())
    state = 'idle'
  }
  return () => {
    if (state === 'idle') void go()
    else state = 'again'
  }
}

/** When the daemon ends, and how long that may take. */
class Shutdown {
  readonly #options: DaemonOptions
  readonly #stop = new AbortController()
  readonly #kill = new AbortController()
  #signalledMs: number | undefined
  #deadline: NodeJS.Timeout | undefined

  constructor(options: DaemonOptions) {
    this.#options = options
  }

  get stop(): AbortSignal {
    return this.#stop.signal
  }

  get kill(): AbortSignal {
    return this.#kill.signal
  }

  /** While a program runs it gets the signals, and we go on until it has ended. */
  readonly onSignal = (signal: NodeJS.Signals): void => {
    const { logger, exec } = this.#options
    const now = performance.now()
    const first = this.#signalledMs === undefined
    const again = now - (this.#signalledMs ?? Number.NEGATIVE_INFINITY) < sameSignalMs
    if (again) return
    this.#signalledMs = now
    if (exec?.isRunning === true) {
      if (first) logger.info({ signal }, signalReceived)
      exec.signal(signal, { ends: true })
    } else if (first) {
      logger.info({ signal }, signalReceived)
      this.begin()
    } else {
      logger.warn({ signal }, 'second signal received, exiting immediately')
      this.#kill.abort()
      // Whoever signals twice does not want to wait for anything.
      exitAtOnce(exitCodes.interrupted.code)
    }
  }

  begin(): void {
    if (this.stop.aborted) return
    const { logger, shutdownTimeoutMs, service } = this.#options
    service.stopping(shutdownTimeoutMs)
    this.#stop.abort()
    this.#deadline = setTimeout(() => {
      logger.error({ 'shutdown-timeout-ms': shutdownTimeoutMs }, 'shutdown timeout reached')
      this.#kill.abort()
      // Whatever hangs in the operating system must not outlive the timeout.
      this.#deadline = exitIfHanging(exitCodes.notStored.code, () => {
        logger.error({}, 'still busy after the shutdown timeout, exiting immediately')
      })
    }, shutdownTimeoutMs)
  }

  /** It has ended: from here on, who ends the process sees to that. */
  settle(): void {
    clearTimeout(this.#deadline)
  }
}

const signalReceived = 'signal received, tsreplicate shutting down'

/** An abort is the end that was asked for: what is missing then is told by the exit code. */
async function run(
  replication: DaemonReplication,
  stop: AbortSignal,
  kill: AbortSignal,
): Promise<readonly NotStored[]> {
  try {
    return await replication.run(stop, kill)
  } catch (error) {
    if (kill.aborted && isAbortError(error)) return []
    throw error
  }
}

/**
 * Begins the shutdown when everything is stored that is committed now, or has been tried for long enough. Resolves with
 * whether the snapshots that are wanted are stored, too.
 */
async function endOnceStored(
  replication: DaemonReplication,
  shutdown: Shutdown,
  { timeoutMs, withSnapshot, logger }: Once & { readonly logger: Logger },
): Promise<boolean> {
  const limits = timeoutMs === undefined ? [] : [AbortSignal.timeout(timeoutMs)]
  const over = AbortSignal.any([shutdown.stop, ...limits])
  await replication.settled(over)
  await replication.stored(over)
  const databases = withSnapshot ? replication.databases : []
  const taken = await Promise.all(
    databases.map((database) => takeSnapshot(database, { logger, signal: over })),
  )
  shutdown.begin()
  return taken.every(Boolean)
}

/** Whether a snapshot of the database is stored, or there is no database. If not, that is said. */
async function takeSnapshot(
  { config: { path: db }, capture, waits }: ReplicatedDatabase,
  { logger, signal }: { readonly logger: Logger; readonly signal: AbortSignal },
): Promise<boolean> {
  if (capture.isAbsent) return true
  const wanted = { replicas: 'all', urgency: 'now', withSnapshot: true } as const
  const captured: Captured = { barrier: undefined }
  try {
    await waits.waitForSnapshot(wanted, captured, signal)
    return true
  } catch (error) {
    if (!isAbortError(error)) logger.error({ db, err: error }, 'no snapshot is stored')
    else
      for (const { replica, detail } of waits.missing(wanted, captured)) {
        logger.error({ db, replica, detail }, 'not stored')
      }
    return false
  }
}

/** Runs the program once everything is stored, and begins the shutdown at its end. Returns its exit code. */
async function execute(
  replication: DaemonReplication,
  program: ExecutedProgram,
  shutdown: Shutdown,
  { logger, firstSyncTimeoutMs }: DaemonOptions,
): Promise<number> {
  const timeout = AbortSignal.timeout(firstSyncTimeoutMs)
  await replication.stored(AbortSignal.any([shutdown.stop, timeout]))
  if (shutdown.stop.aborted) return 0
  for (const { database, replica, detail } of timeout.aborted ? replication.notStored : []) {
    logger.warn(
      { db: database, replica, detail, 'first-sync-timeout-ms': firstSyncTimeoutMs },
      'first sync is not complete, starting the exec command anyway',
    )
  }
  const exitCode = await program.run()
  logger.info({ 'exit-code': exitCode }, 'subprocess exited, tsreplicate shutting down')
  shutdown.begin()
  return exitCode
}
