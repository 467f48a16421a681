/**
 * The process of an engine, over all its lives: it is started, heard, started anew when it ends by itself, and stopped. Nothing
 * of that is thrown outside of a promise that somebody has asked for.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { Socket } from 'node:net'
import { resolve } from 'node:path'
import { withDatabase } from '../../compose/commands.js'
import { engineFile } from '../../compose/package-file.js'
import { type EventName } from '../../domain/replication-events.js'
import { type Config, type DatabaseConfig } from '../../domain/settings/config.js'
import { folderOf } from '../../domain/settings/database-folder.js'
import {
  ConfigError,
  InUseError,
  NotRunningError,
  type NotStored,
  NotStoredError,
  UsageError,
} from '../../domain/errors.js'
import { never } from '../../kit/abort.js'
import { formatDuration } from '../../kit/duration.js'
import { asError, codeOf } from '../../kit/error-text.js'
import { Permits } from '../../kit/permits.js'
import { pauseAfter } from '../../kit/pause.js'
import { withoutDebugger } from '../../kit/without-debugger.js'
import { type DaemonStatus } from '../../domain/status.js'
import { type Stored } from '../../usecase/daemon/commit-waits.js'
import { subjectOf } from '../daemon/endpoints.js'
import { leftoverMs } from '../forced-exit.js'
import { parseStatusAnswer } from '../daemon/answers.js'
import { type DaemonAnswer, type Look, lookAtDaemon } from '../daemon/ask-daemon.js'
import { defaultStatusTimeoutMs } from '../daemon/daemon-status.js'
import { type StartedWith } from '../daemon/status-socket.js'
import { type Logger } from './application-logger.js'
import { takeDatabase } from './configuration.js'
import { carefully } from './carefully.js'
import { type Answer, EngineQuestions } from './engine-questions.js'
import { handlerFor } from './engine-status.js'
import { type Listener, Listeners } from './listeners.js'
import { ignoredSignals } from './ignored-signals.js'
import { checkOptions, isText, type RulesOf, signal as signalRule } from './options.js'
import { type FromEngine, packMessage, type ToEngine, unpackFromEngine } from './messages.js'
import {
  type AddOptions,
  type RunningReplication,
  type StoredOptions,
} from './running-replication.js'
import { parseStoredOptions, waitForStored } from './stored-waits.js'
import { untoldError } from './unknown-places.js'

const pauses = { firstMs: 500, mostMs: 30_000 }
/** Whoever has run as long as this does not end for the same reason as before. */
const soundMs = 60_000
/** Beyond its own timeout: so long an engine has to notice that it hangs, and to end. */
const graceMs = leftoverMs + 1000
/** To begin with a database that is there already; nobody knows how long a restore takes. */
const addMs = 60_000
/** A timer can be no longer. */
const longestMs = 2 ** 31 - 1

const addRules: RulesOf<AddOptions> = { signal: signalRule }

export class EngineProcess implements RunningReplication {
  #config: Config
  /** By what it is asked for: as at the start, whatever is added and removed. */
  readonly #subject: StartedWith
  /** Paths of databases that are being added or removed. */
  readonly #changing = new Set<string>()
  /** Those that are being added, and who says that he will. */
  readonly #adding = new Set<DatabaseConfig>()
  readonly #reserving = new Permits(1)
  readonly #logger: Logger
  readonly #listeners: Listeners
  readonly #questions = new EngineQuestions()
  #child: ChildProcess | undefined
  #restart: NodeJS.Timeout | undefined
  #failures = 0
  /** Whether one of the {@link ignoredSignals} ended the latest process. */
  #wasSignalled = false
  #stopped: Promise<readonly NotStored[]> | undefined
  /** How the latest process ended. */
  #end: Promise<readonly NotStored[]> = Promise.resolve([])
  /** Kills the latest process, and no longer waits for its end. */
  #giveUp: ((how: string) => void) | undefined

  readonly #parts = { questions: this.#questions, config: (): Config => this.#config }

  constructor(config: Config, logger: Logger) {
    this.#config = config
    this.#subject = subjectOf(config)
    this.#logger = logger
    this.#listeners = new Listeners(logger)
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  stop(): Promise<readonly NotStored[]> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  async stored(options: StoredOptions = {}): Promise<Stored> {
    const { request, signal } = parseStoredOptions(options)
    return waitForStored(request, this.#parts, signal)
  }

  on<Name extends EventName>(name: Name, listener: Listener<Name>): this {
    const isFirst = !this.#listeners.some
    this.#listeners.add(name, listener)
    if (isFirst && this.#child !== undefined) send(this.#child, { kind: 'notice' })
    return this
  }

  off<Name extends EventName>(name: Name, listener: Listener<Name>): this {
    this.#listeners.remove(name, listener)
    return this
  }

  async status(): Promise<DaemonStatus> {
    return parseStatusAnswer(await this.#look({ path: '/api/status', accept: undefined }, never))
  }

  handler(): (request: Request) => Promise<Response> {
    return handlerFor((look, signal) => this.#look(look, signal))
  }

  /** What the engine answers that replicates something beside the first; else the first answers. */
  async #look(look: Look, signal: AbortSignal): Promise<DaemonAnswer> {
    const limit = { timeoutMs: defaultStatusTimeoutMs, signal }
    return (await this.#lookBeside(look)) ?? lookAtDaemon(this.#subject, look, limit)
  }

  async #lookBeside(look: Look): Promise<DaemonAnswer | undefined> {
    if (!this.#questions.engineIsRunning) return undefined
    const gone = (how: string): Error => new NotRunningError(`the engine ${how}`)
    const message = (id: number): ToEngine => ({ kind: 'look', id, look })
    const answer = await this.#ask({ message, gone, limitMs: defaultStatusTimeoutMs })
    assert(answer.kind === 'looked')
    return answer.answer
  }

  async addDatabase(
    first: string | DatabaseConfig,
    second?: string | readonly string[] | AddOptions,
    third?: AddOptions,
  ): Promise<void> {
    const { database, options = {} } = await takeDatabase([first, second, third])
    const { signal = never } = checkOptions(options, { of: 'addDatabase', rules: addRules })
    signal.throwIfAborted()
    await this.#change(database.path, async (gone) => {
      await this.#reserve(database)
      try {
        const limitMs = database.restoreIfDbNotExists ? longestMs : addMs
        await this.#ask({ message: (id) => ({ kind: 'add', id, database }), gone, limitMs, signal })
        this.#config = { ...this.#config, databases: [...this.#config.databases, database] }
      } catch (error) {
        // It may just have been added.
        const message = (id: number): ToEngine => ({ kind: 'remove', id, path: database.path })
        if (signal.aborted)
          void this.#ask({ message, gone, limitMs: this.#limitMs }).catch(() => undefined)
        throw error
      } finally {
        this.#adding.delete(database)
      }
    })
  }

  async removeDatabase(name: string): Promise<readonly NotStored[]> {
    if (!isText(name)) throw new UsageError('removeDatabase takes the path of a database')
    const path = resolve(name)
    return this.#change(path, async (gone) => {
      if (!this.#config.databases.some((each) => each.path === path)) {
        throw notNamed(this.#config, path)
      }
      const message = (id: number): ToEngine => ({ kind: 'remove', id, path })
      const answer = await this.#ask({ message, gone, limitMs: this.#limitMs })
      assert(answer.kind === 'removed')
      const left = this.#config.databases.filter((each) => each.path !== path)
      this.#config = { ...this.#config, databases: left }
      return answer.notStored
    })
  }

  /** It must go with all others, those included that are being added. Rejects with {@link ConfigError} if it does not. */
  async #reserve(database: DatabaseConfig): Promise<void> {
    using _turn = await this.#reserving.take(never)
    const databases = [...this.#config.databases, ...this.#adding]
    await withDatabase({ ...this.#config, databases }, database)
    this.#adding.add(database)
  }

  /** Adds or removes a database, one such thing at a time for each. */
  async #change<T>(path: string, change: (gone: (how: string) => Error) => Promise<T>): Promise<T> {
    if (this.#changing.has(path)) throw new UsageError(`${path} is being added or removed`)
    this.#changing.add(path)
    try {
      return await change(
        (how) => new NotRunningError(`${path} is not added or removed: the engine ${how}`),
      )
    } finally {
      this.#changing.delete(path)
    }
  }

  /** Rejects, too, when there is no answer within the limit. */
  async #ask({
    limitMs,
    signal = never,
    ...question
  }: Parameters<EngineQuestions['ask']>[0] & {
    readonly limitMs: number
    readonly signal?: AbortSignal
  }): Promise<Answer> {
    const late = new AbortController()
    const timer = setTimeout(() => {
      const { engineIsRunning, ending } = this.#questions
      const silent = `did not answer within ${formatDuration(limitMs)}`
      late.abort(question.gone(engineIsRunning ? silent : ending))
    }, limitMs)
    try {
      return await this.#questions.ask(question, AbortSignal.any([signal, late.signal]))
    } finally {
      clearTimeout(timer)
    }
  }

  /** How long the engine may take to store what is left. */
  get #limitMs(): number {
    return Math.min(longestMs, this.#config.shutdownTimeoutMs + graceMs)
  }

  async durable<T>(work: () => T | Promise<T>, options: StoredOptions = {}): Promise<T> {
    if (typeof work !== 'function') throw new UsageError('durable takes a function')
    // What is wrong is said before anything is committed.
    const { request, signal } = parseStoredOptions(options)
    signal.throwIfAborted()
    const result = await work()
    await waitForStored(request, this.#parts, signal)
    return result
  }

  /** Starts the process; resolves when it runs, rejects when it does not come to that. */
  async start(options: { readonly restores: boolean }): Promise<void> {
    for (;;) {
      try {
        return await this.#startOnce(options)
      } catch (error) {
        // Before its first line it cannot ignore a signal: what was sent to all processes was not for it.
        if (!this.#wasSignalled || this.#stopped !== undefined) throw error
      }
    }
  }

  async #startOnce({ restores }: { readonly restores: boolean }): Promise<void> {
    this.#wasSignalled = false
    const child = fork(engineFile(), {
      execArgv: [withoutDebugger],
      // Those of the application are not for the engine.
      env: { ...process.env, NODE_OPTIONS: undefined },
      serialization: 'advanced',
      // Whoever reads the application's own must not wait for the last sync.
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    this.#child = child
    const lastWords = hear(child)
    const running = Promise.withResolvers<undefined>()
    const ended = Promise.withResolvers<readonly NotStored[]>()
    this.#end = ended.promise
    let runningSinceMs: number | undefined
    let notStored: readonly NotStored[] | undefined
    let failure: Error | undefined
    const take = (message: FromEngine): void => {
      if (message.kind === 'log') this.#logger[message.level](message.fields, message.message)
      if (message.kind === 'failed') failure = message.error
      if (message.kind === 'ended') notStored = message.notStored
      if (message.kind === 'news') this.#listeners.hear(message.news)
      if ('id' in message) this.#questions.answered(message)
      if (message.kind !== 'running') return
      this.#listeners.engineIs([])
      this.#questions.engineRuns((toEngine) => send(child, toEngine))
      runningSinceMs = performance.now()
      running.resolve(undefined)
      if (this.#stopped === undefined) release(child)
    }
    child.on('message', (packed) => {
      // The package may have been replaced while the application runs: this engine is then of another version.
      carefully(
        () => take(unpackFromEngine(packed)),
        (err) => this.#logger.error({ err }, 'engine says something that is not understood'),
      )
    })
    let isOver = false
    const over = (how: string): void => {
      if (isOver) return
      isOver = true
      const error = failure ?? new NotStoredError(`the process of the engine ${how}${lastWords()}`)
      this.#child = undefined
      this.#questions.engineEnded(how, { isLast: this.#stopped !== undefined })
      running.reject(error)
      if (notStored === undefined) ended.reject(error)
      else ended.resolve(notStored)
      if (runningSinceMs === undefined || this.#stopped !== undefined) return
      if (performance.now() - runningSinceMs > soundMs) this.#failures = 0
      this.#startAnew(error)
    }
    this.#giveUp = (how) => {
      // Where the operating system holds it, that comes later, and nobody waits for it.
      child.kill('SIGKILL')
      release(child)
      over(how)
    }
    child.on('error', (error) => {
      failure ??= child.pid === undefined ? notStarted(error) : error
      // Where there is no room for another process, nothing else is heard of it.
      if (child.pid === undefined) over(`cannot be started: ${error.message}`)
    })
    child.once('close', (code, signal) => {
      this.#wasSignalled = ignoredSignals.some((each) => each === signal)
      if (child.pid !== undefined) over(`ended by ${signal ?? `exit code ${String(code)}`}`)
    })
    // Whoever wants to know asks when it stops.
    ended.promise.catch(() => undefined)
    send(child, { kind: 'start', config: this.#config, subject: this.#subject, restores })
    if (this.#listeners.some) send(child, { kind: 'notice' })
    await running.promise
  }

  #startAnew(error: Error): void {
    this.#failures += 1
    const pauseMs = pauseAfter(this.#failures, pauses)
    this.#logger.error({ err: error, 'pause-ms': pauseMs }, 'engine ended, restarting it')
    const code = codeOf(error) ?? 'OTHER'
    const event = { database: undefined, replica: undefined, code, message: error.message }
    this.#listeners.engineIs([{ name: 'problem', event }])
    this.#restart = setTimeout(() => {
      // The application may be making the database by now.
      this.start({ restores: false }).catch((reason: unknown) => {
        if (this.#stopped !== undefined) return
        const error = asError(reason)
        const [first = ''] = error.message.split('\n', 1)
        const ending = `does not start anew: ${first}`
        this.#questions.engineEnded(ending, { isLast: false })
        this.#startAnew(error)
      })
    }, pauseMs).unref()
  }

  async #stop(): Promise<readonly NotStored[]> {
    clearTimeout(this.#restart)
    const child = this.#child
    const limitMs = this.#limitMs
    const limit = setTimeout(() => {
      this.#giveUp?.(`did not end within ${formatDuration(limitMs)}, and was killed`)
    }, limitMs)
    if (child === undefined) this.#questions.engineEnded('ended by stop()', { isLast: true })
    if (child !== undefined) {
      child.ref()
      child.channel?.ref()
      send(child, { kind: 'stop' })
    }
    try {
      const notStored = await this.#end
      this.#tellNotStored(notStored)
      return notStored
    } catch (error) {
      // What another process replicates is not ours to store.
      if (error instanceof InUseError) return []
      if (!(error instanceof NotRunningError || error instanceof NotStoredError)) throw error
      const { message: why, cause = error } = error
      const what = 'not known to be stored'
      throw untoldError(
        { what, why, cause },
        { database: undefined, replicas: 'all' },
        this.#config,
      )
    } finally {
      clearTimeout(limit)
    }
  }

  /** Whoever ends by `await using` does not hear it otherwise. */
  #tellNotStored(notStored: readonly NotStored[]): void {
    if (notStored.length === 0) return
    for (const { database, replica, detail } of notStored) {
      this.#logger.error({ db: database, replica, detail }, 'not stored')
    }
    this.#listeners.engineIs(
      notStored.map(({ database, replica, detail: message }) => ({
        name: 'problem',
        event: { database, replica, code: 'NOT_STORED', message },
      })),
    )
  }
}

/** What the system refuses to an engine, as an error of ours. */
export function notStarted(cause: Error): NotRunningError {
  return new NotRunningError(`the engine cannot be started: ${cause.message}`, {
    cause,
    hint: 'where there are too many open files or processes, allow more (ulimit -n, ulimit -u) or close some',
  })
}

/** Why a database is not removed that the configuration does not name. */
function notNamed({ databases, folders }: Config, path: string): ConfigError {
  const owner = folderOf(folders, path)
  if (owner !== undefined) {
    return new ConfigError(`${path} is replicated as a database of ${owner.folder.path}`, {
      hint: 'Move its file out of the folder, or start with a pattern that does not match it.',
    })
  }
  return new ConfigError(`database not replicated: ${path}`, {
    hint: `Replicated are: ${databases.map((each) => each.path).join(', ') || 'none'}`,
  })
}

/** Lets the application end while the process runs. */
function release(child: ChildProcess): void {
  child.unref()
  child.channel?.unref()
  if (child.stderr instanceof Socket) child.stderr.unref()
}

const maxLastWords = 4000

/** What a process says on stderr is what it could not log: the reason of a crash. */
function hear(child: ChildProcess): () => string {
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said = `${said}${text}`.slice(-maxLastWords)
  })
  // What it said is wanted only at its end, and that is told otherwise.
  child.stderr?.on('error', () => undefined)
  return () => (said === '' ? '' : `: ${said.trim()}`)
}

function send(child: ChildProcess, message: ToEngine): void {
  // A process that is gone says so by its end, and one that never was has nothing to be told by.
  if (child.pid !== undefined) child.send(packMessage(message), () => undefined)
}
