/**
 * The process that the library replicates in. It runs until the application says so or is gone, stores what is left, and
 * ends. Signals are the application's business: what a terminal or a service manager sends to all processes at once must
 * not end this one while the application still writes.
 */
import { composeDaemon, restoreMissing } from '../../compose/commands.js'
import { Lifetime } from '../../compose/lifetime.js'
import { type Config } from '../../domain/settings/config.js'
import { NotRunningError, NotStoredError, UsageError } from '../../domain/errors.js'
import { onAbort } from '../../kit/abort.js'
import { asError } from '../../kit/error-text.js'
import { type LogFields, type Logger, withHint } from '../../usecase/ports/logger.js'
import { type Replication } from '../../usecase/daemon/replicated-databases.js'
import { version } from '../cli/version.js'
import { type Stored } from '../../usecase/daemon/commit-waits.js'
import { askDaemon } from '../daemon/ask-daemon.js'
import { serveInTurn, subjectOf } from '../daemon/endpoints.js'
import { type DaemonSubject } from '../daemon/status-socket.js'
import { parseSyncAnswer } from '../daemon/sync-answer.js'
import { type SyncRequest } from '../daemon/sync-request.js'
import { exitCodes } from '../exit-codes.js'
import { exitIfHanging } from '../forced-exit.js'
import {
  type FromEngine,
  logLevels,
  type LogLevel,
  packMessage,
  type ToEngine,
  unpackToEngine,
} from './messages.js'

type Start = Extract<ToEngine, { kind: 'start' }>

/** Beyond the timeout of a wait, for the answer of another process. */
const answerMs = 1000

/** The application decides when it ends. */
const ignoredSignals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const
for (const signal of ignoredSignals) process.on(signal, () => undefined)
// Nobody reads it when the application is gone, and what is left has to be stored all the same.
process.stderr.on('error', () => undefined)

const stop = new AbortController()
process.once('disconnect', () => stop.abort())
process.on('message', (packed) => {
  const message = unpackToEngine(packed)
  switch (message.kind) {
    case 'start':
      return void run(message)
    case 'stop':
      return stop.abort()
    case 'await':
      return void answer(message)
    case 'forget':
      return waiting.get(message.id)?.abort()
  }
})

const running = Promise.withResolvers<{
  readonly replication: Replication
  /** Whether this is the process that replicates, of several with the same configuration. */
  readonly turn: { readonly isFirst: boolean }
  readonly subject: DaemonSubject
}>()
/** Those who wait for their commits, by their numbers. */
const waiting = new Map<number, AbortController>()

/** Tells whoever waits for his commits when they are stored, or why they are not. */
async function answer({ id, request }: Extract<ToEngine, { kind: 'await' }>): Promise<void> {
  const forget = new AbortController()
  waiting.set(id, forget)
  try {
    const { replication, turn, subject } = await running.promise
    const asked = { ...request, database: request.database ?? onlyDatabase(replication.wanted) }
    const stored =
      (turn.isFirst ? undefined : await askFirst(subject, asked, forget.signal)) ??
      (await replication.awaitStored(asked.database, request, forget.signal))
    await tell({ kind: 'stored', id, stored })
  } catch (error) {
    if (!forget.signal.aborted) await tell({ kind: 'refused', id, error: asError(error) })
  } finally {
    waiting.delete(id)
  }
}

/** Asks the process that replicates. Undefined: it has ended, and this one takes over. */
async function askFirst(
  subject: DaemonSubject,
  body: SyncRequest,
  signal: AbortSignal,
): Promise<Stored | undefined> {
  const timeoutMs = body.timeoutMs + answerMs
  try {
    const question = { method: 'POST', path: '/api/sync', body, timeoutMs } as const
    return parseSyncAnswer(await askDaemon([subject], question, signal))[0]
  } catch (error) {
    if (error instanceof NotRunningError) return undefined
    throw error
  }
}

function onlyDatabase(paths: readonly string[]): string {
  const [only, ...others] = paths
  if (only !== undefined && others.length === 0) return only
  const hint = `Name one of: ${paths.join(', ') || 'none'}.`
  throw new UsageError('there are several databases: which one is meant?', { hint })
}

/** Replicates until the end, and leaves nothing that keeps the process alive. */
async function run(start: Start): Promise<void> {
  await using lifetime = new Lifetime()
  await tell(await runReplication(start, lifetime))
  if (process.connected) process.disconnect()
  exitIfHanging(exitCodes.done.code, () => undefined)
}

/** Resolves with the last that is to be told. */
async function runReplication(
  { config, restores }: Start,
  lifetime: Lifetime,
): Promise<FromEngine> {
  const kill = new AbortController()
  using _limit = endAfter(config.shutdownTimeoutMs, kill)
  try {
    const log = logger(config.logging.level)
    const restoring = { integrityCheck: 'quick', logger: log } as const
    if (restores) await restoreMissing(config.databases, restoring, stop.signal)
    const daemon = await composeDaemon(inTurn(config), {
      logger: log,
      version: version(),
      lifetime,
    })
    const turn = await serveInTurn(config, daemon, { logger: log, lifetime, stop: stop.signal })
    running.resolve({ replication: daemon.replication, turn, subject: subjectOf(config) })
    void tell({ kind: 'running' })
    void daemon.watchDisk.run(stop.signal)
    return { kind: 'ended', notStored: await daemon.replication.run(stop.signal, kill.signal) }
  } catch (reason) {
    const error = asError(reason)
    return { kind: 'failed', error: kill.signal.aborted ? late(config.shutdownTimeoutMs) : error }
  }
}

/** Several processes of an application may have one configuration: one of them replicates. */
function inTurn(config: Config): Config {
  return {
    ...config,
    databases: config.databases.map((database) => ({ ...database, standsBy: true as const })),
    folders: config.folders.map((folder) => ({
      ...folder,
      database: { ...folder.database, standsBy: true as const },
    })),
  }
}

/** Once it is stopped, the last sync has its time. */
function endAfter(timeoutMs: number, kill: AbortController): Disposable {
  let deadline: NodeJS.Timeout | undefined
  const stopping = onAbort(stop.signal, () => {
    deadline = setTimeout(() => {
      kill.abort()
      // Whatever hangs in the operating system must not outlive the timeout.
      exitIfHanging(exitCodes.notStored.code, () =>
        tell({ kind: 'failed', error: late(timeoutMs) }),
      )
    }, timeoutMs)
  })
  return {
    [Symbol.dispose]() {
      stopping[Symbol.dispose]()
      clearTimeout(deadline)
    },
  }
}

function late(timeoutMs: number): NotStoredError {
  return new NotStoredError(`not everything was stored within ${timeoutMs} ms`, {
    hint: 'What is missing is kept locally and stored after the next start.',
  })
}

/** Resolves when it is on its way. What is told when nobody is there any more is lost. */
function tell(message: FromEngine): Promise<void> {
  return new Promise((resolve) => {
    if (!process.connected || process.send === undefined) resolve()
    else process.send(packMessage(message), undefined, {}, () => resolve())
  })
}

/** Lines on their way to an application that may be too busy to take them; more are dropped, and the count is said later. */
const maxLinesUnderWay = 1000
let linesUnderWay = 0
let lostLines = 0

async function tellLine(line: Omit<Extract<FromEngine, { kind: 'log' }>, 'kind'>): Promise<void> {
  if (linesUnderWay >= maxLinesUnderWay) {
    lostLines += 1
    return
  }
  linesUnderWay += 1
  await tell({ kind: 'log', ...line })
  linesUnderWay -= 1
  if (lostLines === 0 || linesUnderWay > maxLinesUnderWay / 2) return
  const message = `${lostLines} log lines were lost: the application did not take them in time`
  const fields = { lines: lostLines }
  lostLines = 0
  void tellLine({ level: 'error', fields, message })
}

function logger(level: LogLevel, bound: LogFields = {}): Logger {
  const write = (of: LogLevel) => (fields: LogFields, message: string) => {
    if (logLevels.indexOf(of) < logLevels.indexOf(level)) return
    void tellLine({ level: of, fields: withHint({ ...bound, ...fields }), message })
  }
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    child: (fields) => logger(level, { ...bound, ...fields }),
  }
}
