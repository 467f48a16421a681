import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:os'

import { type Logger } from '../../usecase/ports/logger.js'
import { shellExitCodes } from '../exit-codes.js'

export interface ProgramOptions {
  /** The program and its arguments: no shell is between. */
  readonly words: readonly string[]
  /** Added to the environment. */
  readonly env: Readonly<Record<string, string>>
  /** After a signal that asks it to end, it is killed when this has passed. */
  readonly stopTimeoutMs: number
  readonly logger: Logger
  /** Whether we share a terminal with it: its Ctrl-C reaches the program without us, and must not reach it twice. */
  readonly onTerminal: boolean
}

/** What we were started with: the launcher that brings our Node.js lays aside what is for another one. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const { TSREPLICATE_NODE_OPTIONS: laidAside, ...env } = process.env
  return laidAside === undefined ? env : { ...env, NODE_OPTIONS: laidAside }
}

/** The program of `exec`: its environment, stdin, stdout and stderr are ours, and signals are passed on to it. */
export class ExecutedProgram {
  readonly #options: ProgramOptions
  #child: ChildProcess | undefined
  #ended: Promise<number> | undefined
  #deadline: NodeJS.Timeout | undefined

  constructor(options: ProgramOptions) {
    this.#options = options
  }

  get isRunning(): boolean {
    return this.#child !== undefined
  }

  /**
   * Starts it. Resolves at its end with its exit code, or as a shell would say it: 128 and the signal's number, 127 when
   * there is no such program, 126 when it cannot be executed.
   */
  run(): Promise<number> {
    const { words, env } = this.#options
    const [command = '', ...argv] = words
    const child = spawn(command, argv, { stdio: 'inherit', env: { ...ownEnvironment(), ...env } })
    this.#child = child
    this.#ended = new Promise((resolve) => {
      const end = (code: number): void => {
        this.#child = undefined
        clearTimeout(this.#deadline)
        resolve(code)
      }
      child.once('error', (error) => {
        // Of a program that runs, it is a signal that could not be sent.
        if (child.pid === undefined) end(this.#reportStartFailure(error))
      })
      child.once('exit', (code, signal) => {
        end(
          code ?? shellExitCodes.killedBySignal + (signal === null ? 0 : constants.signals[signal]),
        )
      })
    })
    return this.#ended
  }

  /** Passes a signal on. One that asks us to end (`ends`) gives it `stopTimeoutMs` to end, too. */
  signal(signal: NodeJS.Signals, { ends }: { ends: boolean }): void {
    const { logger, onTerminal, stopTimeoutMs } = this.#options
    const child = this.#child
    if (child === undefined) return
    if (!(onTerminal && signal === 'SIGINT')) {
      logger.info({ signal }, 'sending signal to exec process')
      child.kill(signal)
    }
    if (!ends || this.#deadline !== undefined) return
    logger.info({}, 'waiting for exec process to close')
    this.#deadline = setTimeout(() => {
      logger.error({ 'shutdown-timeout-ms': stopTimeoutMs }, 'exec process did not end, killing it')
      child.kill('SIGKILL')
    }, stopTimeoutMs)
  }

  async end(): Promise<void> {
    this.signal('SIGTERM', { ends: true })
    await this.#ended
  }

  #reportStartFailure(error: NodeJS.ErrnoException): number {
    const { logger, words } = this.#options
    logger.error({ command: words[0], err: error }, 'cannot start exec command')
    return error.code === 'ENOENT' ? shellExitCodes.notFound : shellExitCodes.cannotExecute
  }
}
