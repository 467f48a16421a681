/** Starting real object stores on loopback: what the scripts of this folder share. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { Patience } from '../patience.ts'

/** Why a store cannot be reached on this machine, for people. */
export interface UnavailableStore {
  readonly unavailable: string
}

/** What every running store has, besides what its clients need. */
export interface RunningStore {
  /** With its scheme. */
  readonly endpoint: string
  /** Ends the server, if we started it. Twice is harmless. */
  stop(): Promise<void>
}

export interface S3Store extends RunningStore {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Exists already. */
  readonly bucket: string
  readonly region: string
}

const run = promisify(execFile)

/** Where built programs stay between runs. */
export const cacheFolder =
  process.env.TSREPLICATE_STORES_CACHE ?? join(homedir(), '.cache', 'tsreplicate-stores')

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** The path of a Go program, built once and kept in {@link cacheFolder}; minutes the first time. */
export async function buildGoProgram(program: {
  readonly name: string
  readonly module: string
  readonly version: string
}): Promise<{ readonly path: string } | UnavailableStore> {
  const { name, module, version } = program
  const folder = join(cacheFolder, `${name}-${version}`)
  const path = join(folder, name)
  if (await exists(path)) return { path }
  const go = await findProgram('go', ['/usr/local/go/bin'])
  if (go === undefined) {
    return { unavailable: `${name} is built with Go, and there is no go on this machine` }
  }
  await mkdir(cacheFolder, { recursive: true })
  const building = await mkdtemp(join(cacheFolder, 'building-'))
  try {
    await run(go, ['install', '-ldflags=-s -w', `${module}@${version}`], {
      env: { ...process.env, GOBIN: building, GOFLAGS: '-buildvcs=false' },
      maxBuffer: 64 * 1024 * 1024,
      timeout: 20 * 60_000,
    })
    await mkdir(folder, { recursive: true })
    await rename(join(building, name), path)
    return { path }
  } catch (error) {
    return { unavailable: `go install ${module}@${version} failed: ${String(error).slice(-2000)}` }
  } finally {
    await rm(building, { recursive: true, force: true })
  }
}

/** The path of a program on PATH or in one of the other folders. */
export async function findProgram(
  name: string,
  otherFolders: readonly string[] = [],
): Promise<string | undefined> {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...otherFolders]
  for (const folder of folders) {
    if (folder !== '' && (await exists(join(folder, name)))) return join(folder, name)
  }
  return undefined
}

/** A server process of ours. */
export interface ServerProcess {
  readonly name: string
  readonly pid: number
  /** What it has written, for a message. */
  output(): string
  ended(): boolean
  /** Ends this process and no other, and waits for it. */
  stop(): Promise<void>
}

/** Starts a server. It ends with this process at the latest. */
export function startProcess(
  name: string,
  command: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): ServerProcess {
  const [program, ...args] = command
  if (program === undefined) throw new Error('no program')
  const child: ChildProcess = spawn(program, args, {
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-4000)
  }
  child.stdout?.on('data', keep)
  child.stderr?.on('data', keep)
  child.on('error', (error) => (output += String(error)))
  const ended = (): boolean =>
    child.pid === undefined || child.exitCode !== null || child.signalCode !== null
  const kill = (): void => void child.kill('SIGKILL')
  process.once('exit', kill)
  return {
    name,
    pid: child.pid ?? -1,
    output: () => output,
    ended,
    stop: async () => {
      process.off('exit', kill)
      if (ended()) return
      const exited = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM')
      const timer = setTimeout(kill, 10_000)
      await exited
      clearTimeout(timer)
    },
  }
}

/** Waits until `ready` says so; throws with the server's output when it ends or time runs out. */
export async function waitUntilReady(
  server: ServerProcess,
  ready: () => Promise<boolean>,
  timeoutMs = 90_000,
): Promise<void> {
  const patience = new Patience(timeoutMs)
  for (;;) {
    if (await ready().catch(() => false)) return
    if (server.ended()) throw new Error(`${server.name} ended at its start: ${server.output()}`)
    if (patience.isOver) {
      throw new Error(`${patience.waited} for ${server.name}: ${server.output()}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Whether a GET of `url` is answered with success. */
export async function answers(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(2000) })
  await response.arrayBuffer()
  return response.ok
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
