/** What the process of an engine does: it runs until the application says so or is gone, stores what is left, and ends. */
import { setTimeout as sleep } from 'node:timers/promises'
import { composeDaemon, composeEvents, restoreMissing } from '../../compose/commands.js'
import { Lifetime } from '../../compose/lifetime.js'
import { type DatabaseConfig } from '../../domain/settings/config.js'
import { ConfigError, NotRunningError, NotStoredError, UsageError } from '../../domain/errors.js'
import { onAbort } from '../../kit/abort.js'
import { formatDuration } from '../../kit/duration.js'
import { asError } from '../../kit/error-text.js'
import { type LogFields, type Logger, withHint } from '../../usecase/ports/logger.js'
import { type MetricsFormat } from '../../usecase/ports/metrics-format.js'
import { type ReportStatus } from '../../usecase/daemon/report-status.js'
import { type NoticeEvents } from '../../usecase/daemon/notice-events.js'
import { type Replication } from '../../usecase/daemon/replicated-databases.js'
import { version } from '../cli/version.js'
import { EndedError, notStored, type Stored } from '../../usecase/daemon/commit-waits.js'
import { askDaemon, type DaemonAnswer, type Look, lookAtDaemon } from '../daemon/ask-daemon.js'
import { type WantedDatabase } from '../daemon/control.js'
import { defaultStatusTimeoutMs } from '../daemon/daemon-status.js'
import { serveInTurn } from '../daemon/endpoints.js'
import { type DaemonSubject, type StartedWith } from '../daemon/status-socket.js'
import { parseSyncAnswer } from '../daemon/answers.js'
import { type SyncRequest } from '../daemon/sync-request.js'
import { exitCodes } from '../exit-codes.js'
import { exitIfHanging } from '../forced-exit.js'
import { answerBeside } from './beside.js'
import {
  type FromEngine,
  logLevels,
  type LogLevel,
  packMessage,
  type ToEngine,
  unpackToEngine,
} from './messages.js'
import { awaitHereOrThere, missingThere } from './other-daemon.js'
import { inTurn, WantedDatabases } from './wanted-databases.js'

type Start = Extract<ToEngine, { kind: 'start' }>
type Question = Extract<ToEngine, { kind: 'await' | 'add' | 'remove' | 'look' }>

/** Beyond the timeout of a wait, for the answer of another process: less than the application waits for that of this one. */
const answerMs = 500

const stop = new AbortController()
process.once('disconnect', () => stop.abort())
// It may have gone while this was being loaded.
if (!process.connected) stop.abort()
process.on('message', (packed) => {
  const message = unpackToEngine(packed)
  switch (message.kind) {
    case 'start':
      return void run(message)
    case 'stop':
      return stop.abort()
    case 'notice':
      return void notice()
    case 'await':
    case 'add':
    case 'remove':
    case 'look':
      return void answer(message)
    case 'forget':
      return waiting.get(message.id)?.abort()
  }
})

/** What a running engine consists of. */
interface Parts {
  readonly replication: Replication
  readonly databases: WantedDatabases
  readonly events: NoticeEvents
  readonly report: ReportStatus
  readonly metrics: MetricsFormat
  /** Whether this is the process that replicates, of several with the same configuration. */
  readonly turn: { readonly isFirst: boolean }
  readonly subject: StartedWith
}

const waitingText = 'waiting until that process ends'

const running = Promise.withResolvers<Parts>()
/** Those who wait for an answer, by their numbers. */
const waiting = new Map<number, AbortController>()

let isNoticing = false

/** From now on somebody hears of events. */
async function notice(): Promise<void> {
  if (isNoticing) return
  isNoticing = true
  const { events } = await running.promise
  await events.run(stop.signal)
}

/** Tells whoever asked what was done, or why it was not. */
async function answer(question: Question): Promise<void> {
  const { id } = question
  const forget = new AbortController()
  waiting.set(id, forget)
  try {
    await tell(await answerTo(question, forget.signal))
  } catch (error) {
    if (!forget.signal.aborted) await tell({ kind: 'refused', id, error: asError(error) })
  } finally {
    waiting.delete(id)
  }
}

async function answerTo(question: Question, signal: AbortSignal): Promise<FromEngine> {
  const { id } = question
  const parts = await running.promise
  const { databases } = parts
  switch (question.kind) {
    case 'await':
      return { kind: 'stored', id, stored: await awaitStored(question.request, parts, signal) }
    case 'add':
      await add(question.database, databases, signal)
      return { kind: 'added', id }
    case 'remove':
      return { kind: 'removed', id, notStored: await databases.remove(question.path) }
    case 'look':
      return { kind: 'looked', id, answer: await lookBeside(question.look, parts, signal) }
  }
}

/** Rejects with the signal's reason at an abort, and with {@link NotRunningError} when all ends: a restore ends then. */
async function add(
  database: DatabaseConfig,
  databases: WantedDatabases,
  signal: AbortSignal,
): Promise<void> {
  try {
    await databases.add(database, AbortSignal.any([stop.signal, signal]))
  } catch (error) {
    if (!stop.signal.aborted) throw error
    throw new NotRunningError(`${database.path} is not added: the engine ends`)
  }
}

/** Undefined: the first is to be asked, and may be this one. */
async function lookBeside(
  look: Look,
  { turn, databases: { elsewhere }, subject, ...parts }: Parts,
  signal: AbortSignal,
): Promise<DaemonAnswer | undefined> {
  if (turn.isFirst) return undefined
  const limit = { timeoutMs: defaultStatusTimeoutMs - answerMs, signal }
  const askFirst = (of: Look): Promise<DaemonAnswer> => lookAtDaemon(subject, of, limit)
  return answerBeside(look, { ...parts, elsewhere, askFirst }, signal)
}

const lookMs = 100

/** Resolves when commits are stored, whichever process replicates, and whichever does so next. */
async function awaitStored(
  request: SyncRequest,
  {
    replication,
    turn,
    subject,
    databases,
  }: Pick<Parts, 'replication' | 'turn' | 'subject' | 'databases'>,
  signal: AbortSignal,
): Promise<Stored> {
  const endsAt = performance.now() + request.timeoutMs
  const known = (): readonly string[] => [
    ...new Set([...databases.named, ...replication.wanted.map(({ path }) => path)]),
  ]
  if (request.database === undefined || !known().includes(request.database)) {
    // It may have just been made in a folder.
    const late = AbortSignal.timeout(Math.ceil(request.timeoutMs))
    await replication.lookAgain(AbortSignal.any([signal, late]))
    signal.throwIfAborted()
  }
  const database = request.database ?? onlyDatabase(known())
  for (;;) {
    const timeoutMs = Math.max(1, Math.ceil(endsAt - performance.now()))
    const asked = { ...request, database, timeoutMs }
    const body = { ...asked, places: databases.placesOf(database) }
    const stored = turn.isFirst ? undefined : await askFirst(subject, body, signal)
    if (stored !== undefined) return stored
    try {
      if (!databases.leaves(database)) {
        const ask = (daemon: DaemonSubject): Promise<Stored | undefined> =>
          askFirst(daemon, body, signal)
        const found = { database, request: asked, subject, ask }
        const stored = await awaitHereOrThere(replication, found, signal)
        if (stored !== undefined) return stored
      }
    } catch (error) {
      if (!(error instanceof EndedError) || stop.signal.aborted) throw error
    }
    const leftMs = endsAt - performance.now()
    if (leftMs <= 0 || stop.signal.aborted) {
      throw notStored(`${database}: not within ${formatDuration(request.timeoutMs)}`, {
        missing: missingThere(replication, database),
      })
    }
    await sleep(Math.min(lookMs, leftMs), undefined, { signal })
  }
}

/** Asks the process that replicates. Undefined: it ends, and another one takes over; or it has not got the database. */
async function askFirst(
  subject: DaemonSubject,
  body: SyncRequest,
  signal: AbortSignal,
): Promise<Stored | undefined> {
  const timeoutMs = body.timeoutMs + answerMs
  try {
    const question = { method: 'POST', path: '/api/sync', body, timeoutMs } as const
    const answer = await askDaemon([subject], question, signal)
    return answer.status === 503 ? undefined : parseSyncAnswer(answer)[0]
  } catch (error) {
    if (error instanceof NotRunningError || error instanceof ConfigError) return undefined
    throw error
  }
}

function onlyDatabase(paths: readonly string[]): string {
  const [only, ...others] = paths
  if (only !== undefined && others.length === 0) return only
  if (only === undefined) throw new ConfigError('no database is replicated')
  const hint = `Name one of: ${paths.join(', ')}.`
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
  { config: started, subject, restores }: Start,
  lifetime: Lifetime,
): Promise<FromEngine> {
  const config = inTurn(started)
  const kill = new AbortController()
  using _limit = endAfter(config.shutdownTimeoutMs, kill)
  try {
    const log = logger(config.logging.level)
    const restore = (databases: readonly DatabaseConfig[], signal: AbortSignal): Promise<unknown> =>
      restoreMissing(databases, { integrityCheck: 'quick', logger: log }, signal)
    if (restores) await restore(config.databases, stop.signal)
    const daemon = await composeDaemon(config, {
      logger: log,
      version: version(),
      lifetime,
    })
    const { replication, report, metrics } = daemon
    const databases = new WantedDatabases({
      config,
      replication,
      restoreMissing: (database, signal) => restore([database], signal),
      logger: log,
    })
    const leave = (left: readonly WantedDatabase[] | 'all'): void => databases.leave(left)
    const serving = { subject, logger: log, lifetime, leave, stop: stop.signal }
    const turn = await serveInTurn(config, daemon, serving)
    if (!turn.isFirst) log.info({ why: 'another one of this application replicates' }, waitingText)
    const events = await composeEvents({
      replication: toldOf(replication, databases),
      tell: (news) => void tell({ kind: 'news', news }),
    })
    running.resolve({ replication, databases, events, report, metrics, turn, subject })
    void tell({ kind: 'running' })
    void daemon.watchDisk.run(stop.signal)
    const notStored = await replication.run(stop.signal, kill.signal)
    if (isNoticing) events.look()
    return { kind: 'ended', notStored }
  } catch (reason) {
    const error = asError(reason)
    return { kind: 'failed', error: kill.signal.aborted ? late(config.shutdownTimeoutMs) : error }
  }
}

/** What goes wrong is what this process replicates, and what another one has elsewhere. */
function toldOf(
  replication: Replication,
  databases: WantedDatabases,
): Pick<Replication, 'status' | 'failing' | 'neverBegun'> {
  return {
    status: () => replication.status(),
    get failing() {
      return [...replication.failing, ...databases.elsewhere]
    },
    get neverBegun() {
      return replication.neverBegun
    },
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
