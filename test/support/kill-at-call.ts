/** Kills or stops a process at one system call, or lets the call fail: `kill-at-call.c` compiled, and the environment that tells it which. */
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { hasCompiler, preloadable } from './compiled.ts'
import { sayAtTheEnd } from './last-lines.ts'

export { hasCompiler }
if (!hasCompiler) {
  sayAtTheEnd('no C compiler (cc): nothing was killed at named steps, nor in the sync of its WAL')
}

export type Moment =
  'before' | 'half' | 'after' | 'hold' | 'fail' | 'done' | 'short' | 'slow' | 'hang'

export interface Call {
  /** Kinds of calls, separated by commas; see `kill-at-call.c`. */
  readonly calls: string
  /** An extended regular expression that finds the path. */
  readonly path: string
  /** Counts only after such a call: `call regex`. */
  readonly since?: string
}

/** The library to preload, compiled at the first call. */
function killLibrary(): string {
  return preloadable('kill-at-call')
}

/** One process that is to be killed, or stopped. */
export class Trap {
  readonly env: Record<string, string>
  readonly #mark: string
  readonly #when: string

  constructor(
    folder: string,
    call: Call,
    {
      moment,
      nth = 1,
      error = 'EIO',
      armed,
    }: {
      moment: Moment
      nth?: number
      error?: 'EIO' | 'ENOSPC' | 'EMFILE'
      armed: boolean
    },
  ) {
    this.#mark = join(folder, 'killed')
    this.#when = join(folder, 'kill-now')
    rmSync(this.#mark, { force: true })
    rmSync(this.#when, { force: true })
    this.env = {
      LD_PRELOAD: killLibrary(),
      KILL_CALLS: call.calls,
      KILL_PATH: call.path,
      KILL_NTH: String(nth),
      KILL_MOMENT: moment,
      KILL_ERROR: String(constants.errno[error]),
      KILL_MARK: this.#mark,
      KILL_WHEN: this.#when,
      ...(call.since === undefined ? {} : { KILL_SINCE: call.since }),
    }
    if (armed) this.arm()
  }

  /** Calls count from now on. */
  arm(): void {
    writeFileSync(this.#when, '')
  }

  /** No call counts any more. */
  disarm(): void {
    rmSync(this.#when, { force: true })
  }

  /** Where the process was killed, `call moment path`; undefined: it was not. */
  get killed(): string | undefined {
    return existsSync(this.#mark) ? readFileSync(this.#mark, 'utf8').trim() : undefined
  }
}

/** Makes a process write all its calls on paths below `folder` to a file, and reads them. */
export class Trace {
  readonly env: Record<string, string>
  readonly #file: string

  constructor(folder: string, file: string) {
    this.#file = file
    appendFileSync(file, '')
    this.env = { LD_PRELOAD: killLibrary(), KILL_TRACE: file, KILL_PATH: `^${folder}/` }
  }

  get calls(): { call: string; path: string }[] {
    return readFileSync(this.#file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => ({
        call: line.slice(0, line.indexOf(' ')),
        path: line.slice(line.indexOf(' ') + 1),
      }))
  }
}
