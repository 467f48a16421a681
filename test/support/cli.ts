/** Drives the built program from outside: daemons, commands, folders. Everything started is ended by `cleanUp`. */
import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Patience } from './patience.ts'

export const root = join(import.meta.dirname, '../..')
/** The package under test: the checkout, or one that is installed (see docs/testing.md). */
export const packageUnderTest = process.env.TSREPLICATE_TEST_PACKAGE ?? root
export const program = join(packageUnderTest, 'bin/tsreplicate.js')
/** As built: the engine's process runs what is beside it. */
export const library = join(packageUnderTest, 'dist/index.js')
export const litestream = join(root, 'node_modules/@flydotio/litestream-linux-x64/litestream')

const children = new Set<ChildProcess>()
const folders = new Set<string>()

/** A folder that `cleanUp` removes. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-test-'))
  folders.add(folder)
  return folder
}

/** Kills what is still running, each by its own id, and removes the folders. */
export async function cleanUp({ keepFolders } = { keepFolders: false }): Promise<void> {
  await Promise.all(
    [...children].map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    }),
  )
  children.clear()
  if (keepFolders) return
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  folders.clear()
}

/** A process and all that it has printed. */
export class Running {
  readonly child: ChildProcess
  readonly name: string
  stdout = ''
  stderr = ''
  /** It has ended, and all that it printed has been read. */
  #closed = false
  readonly #news = new EventEmitter().setMaxListeners(0)

  constructor(
    name: string,
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
    user: { readonly uid?: number; readonly gid?: number } = {},
  ) {
    this.name = name
    this.child = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...user,
    })
    children.add(this.child)
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
      this.#news.emit('heard')
    })
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
      this.#news.emit('heard')
    })
    this.child.once('close', () => {
      this.#closed = true
      this.#news.emit('heard')
    })
  }

  get pid(): number {
    return this.child.pid!
  }

  get output(): string {
    return this.stdout + this.stderr
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  /** The exit code, or -1 after a signal, once everything it printed has been read. */
  async exit(timeoutMs = 60_000): Promise<number> {
    await this.#until(
      () => this.#closed,
      timeoutMs,
      () => `${this.name} to end:\n${this.output}`,
    )
    children.delete(this.child)
    return this.child.exitCode ?? -1
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** SIGTERM, and the exit code. */
  async stop(timeoutMs = 60_000): Promise<number> {
    this.signal('SIGTERM')
    return this.exit(timeoutMs)
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL')
    await this.exit()
  }

  count(pattern: RegExp): number {
    return [...this.output.matchAll(new RegExp(pattern.source, 'g'))].length
  }

  /** Waits until `pattern` has been printed `times` times. */
  async waitFor(
    pattern: RegExp,
    { times = 1, timeoutMs = 60_000 }: { times?: number; timeoutMs?: number } = {},
  ): Promise<void> {
    await this.#until(
      () => {
        if (this.count(pattern) >= times) return true
        if (this.#closed)
          throw new Error(
            `${this.name} ended before it printed ${String(pattern)}:\n${this.output}`,
          )
        return false
      },
      timeoutMs,
      () => `${String(pattern)} from ${this.name}, which printed:\n${this.output}`,
    )
  }

  /** Looks whenever it prints something or has ended. */
  async #until(condition: () => boolean, timeoutMs: number, what: () => string): Promise<void> {
    const patience = new Patience(timeoutMs)
    while (!condition()) {
      if (patience.isOver) throw new Error(`${patience.waited} for ${what()}`)
      const waiting = new AbortController()
      const heard = once(this.#news, 'heard', { signal: waiting.signal })
      const late = sleep(1000, undefined, { signal: waiting.signal })
      heard.catch(() => undefined)
      late.catch(() => undefined)
      await Promise.race([heard, late])
      waiting.abort()
    }
  }
}

/** Waits until `condition` holds; `timeoutMs` is of a quiet machine (see patience.ts). */
export async function until(
  condition: () => boolean | Promise<boolean>,
  timeoutMs: number,
  what: string | (() => string),
): Promise<void> {
  const patience = new Patience(timeoutMs)
  while (!(await condition())) {
    if (patience.isOver)
      throw new Error(`${patience.waited} for ${typeof what === 'string' ? what : what()}`)
    await sleep(25)
  }
}

/** Starts the program. */
export function start(...args: string[]): Running {
  return new Running('tsreplicate', process.execPath, [program, ...args])
}

/** Starts the program with these variables, too. */
export function startWith(env: Readonly<Record<string, string>>, ...args: string[]): Running {
  return new Running('tsreplicate', process.execPath, [program, ...args], env)
}

/** Starts the program as another user; that takes root. */
export function startAs(uid: number, ...args: string[]): Running {
  return new Running('tsreplicate', process.execPath, [program, ...args], {}, { uid, gid: uid })
}

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs the program to its end. */
export async function run(...args: string[]): Promise<Outcome> {
  const running = start(...args)
  const code = await running.exit(300_000)
  return { code, stdout: running.stdout, stderr: running.stderr }
}

/** Runs Litestream 0.3.13 to its end. */
export async function runLitestream(...args: string[]): Promise<Outcome> {
  const running = new Running('litestream', litestream, args)
  const code = await running.exit(300_000)
  return { code, stdout: running.stdout, stderr: running.stderr }
}

export interface Report {
  readonly generation: string
  readonly position: { readonly index: number | string; readonly offset: number }
  readonly commitTimeMs: number | null
}

/** Restores, and fails unless that worked. */
export async function restore(
  replica: string,
  output: string,
  ...options: string[]
): Promise<Report> {
  const { code, stdout, stderr } = await run(
    'restore',
    '-o',
    output,
    ...options,
    '--json',
    `file://${replica}`,
  )
  if (code !== 0) throw new Error(`restore ended with ${code}:\n${stdout}${stderr}`)
  return JSON.parse(stdout) as Report
}

/** Restores many, each by its arguments, in one process: starting Node takes longer than a small restore. The exit codes. */
export async function restoreAll(restores: readonly (readonly string[])[]): Promise<number[]> {
  const script = join(import.meta.dirname, 'restore-many.mjs')
  const child = spawn(process.execPath, [script], { stdio: ['pipe', 'ignore', 'inherit', 'pipe'] })
  const codes = text(child.stdio[3] as Readable)
  child.stdin!.end(restores.map((args) => `${JSON.stringify(['restore', ...args])}\n`).join(''))
  return (await codes).trim().split('\n').map(Number)
}

export interface DatabaseOptions {
  readonly path: string
  readonly replicas: readonly (
    string | { readonly path: string; readonly [key: string]: unknown }
  )[]
  readonly syncInterval?: string
  readonly [key: string]: unknown
}

/** Whole suites run with a page map by `TSREPLICATE_PAGE_MAP=1`. */
export const hasPageMap = process.env.TSREPLICATE_PAGE_MAP === '1'

/** Writes a configuration and returns its path. YAML contains JSON. */
export function writeConfig(folder: string, ...databases: DatabaseOptions[]): string {
  const path = join(folder, 'tsreplicate.yml')
  const dbs = databases.map(({ replicas, syncInterval = '100ms', ...rest }) => ({
    ...(hasPageMap ? { 'page-map': true } : {}),
    ...rest,
    replicas: replicas.map((replica) => ({
      type: 'file',
      ...(typeof replica === 'string' ? { path: replica } : replica),
      'sync-interval': syncInterval,
    })),
  }))
  writeFileSync(path, JSON.stringify({ dbs, logging: { level: 'debug' } }, undefined, 2))
  return path
}

/** The finished objects of a replica, relative to it, sorted. */
export function listObjects(replica: string): string[] {
  for (;;) {
    try {
      return readdirSync(replica, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.lz4') && isFile(join(replica, name)))
        .sort()
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      // A folder in it may have been removed meanwhile.
      if (!existsSync(replica)) return []
    }
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true
}

/** The generations that have a folder. */
export function listGenerations(replica: string): string[] {
  return [...new Set(listObjects(replica).map((name) => name.split('/')[1]!))]
}
