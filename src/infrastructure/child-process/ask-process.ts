import { fork, type Serializable } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { constants, setPriority } from 'node:os'
import { fileURLToPath } from 'node:url'
import { onAbort } from '../../kit/abort.js'
import { withoutDebugger } from '../../kit/without-debugger.js'

export interface ProcessLimits {
  /** Without anything read, from a file or the cache of the system: it does not get on. Looked at on Linux. */
  readonly maxIdleMs?: number
  /** From the request on. */
  readonly maxMs?: number
  /** Resident. It is looked at ten times a second, on Linux. */
  readonly maxBytes?: number
}

/** What became of a process that was asked. `ended`: it gave no answer. */
export type ProcessAnswer =
  | { readonly kind: 'answer'; readonly value: unknown }
  | { readonly kind: 'late' | 'idle' | 'too large' }
  | { readonly kind: 'ended'; readonly why: string }

/** The kernel counts memory in pages, which have 4 KiB nearly everywhere. */
const pageBytes = 4096
const lookMs = 100

/**
 * Runs the module `entry` in a process of its own, sends it `request`, and resolves with its first message. It is killed
 * at an abort, which rejects with the signal's reason, and at its limits.
 */
export async function askProcess(
  entry: URL,
  request: Serializable,
  {
    limits = {},
    priority = constants.priority.PRIORITY_NORMAL,
    signal,
  }: { limits?: ProcessLimits; priority?: number; signal: AbortSignal },
): Promise<ProcessAnswer> {
  signal.throwIfAborted()
  const { promise, resolve } = Promise.withResolvers<ProcessAnswer>()
  const child = fork(fileURLToPath(entry), {
    execArgv: [withoutDebugger],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  using _stopping = onAbort(signal, () => resolve({ kind: 'ended', why: 'it was stopped' }))
  using _deadline = timer(limits.maxMs, () => resolve({ kind: 'late' }))
  const { maxBytes = Infinity, maxIdleMs = Infinity } = limits
  const isWatched = maxBytes !== Infinity || maxIdleMs !== Infinity
  let read = { bytes: 0, atMs: performance.now() }
  using _looks = interval(isWatched ? lookMs : undefined, async () => {
    if ((await residentBytes(child.pid)) > maxBytes) resolve({ kind: 'too large' })
    const bytes = await readBytes(child.pid)
    const nowMs = performance.now()
    if (bytes === undefined || bytes !== read.bytes) read = { bytes: bytes ?? 0, atMs: nowMs }
    else if (nowMs - read.atMs > maxIdleMs) resolve({ kind: 'idle' })
  })
  child.once('spawn', () => {
    lowerPriority(child.pid, priority)
    child.send(request, () => undefined)
  })
  // One that died may be told to us more than once.
  child.on('error', (error) => resolve({ kind: 'ended', why: error.message }))
  child.once('message', (value) => resolve({ kind: 'answer', value }))
  child.once('exit', (code, killedBy) =>
    resolve({ kind: 'ended', why: killedBy ?? `exit code ${String(code)}` }),
  )
  const answer = await promise
  child.kill('SIGKILL')
  signal.throwIfAborted()
  return answer
}

function timer(ms: number | undefined, act: () => void): Disposable {
  const running = ms === undefined ? undefined : setTimeout(act, Math.min(ms, 2 ** 31 - 1))
  return { [Symbol.dispose]: () => clearTimeout(running) }
}

function interval(ms: number | undefined, look: () => Promise<void>): Disposable {
  const running = ms === undefined ? undefined : setInterval(() => void look(), ms)
  return { [Symbol.dispose]: () => clearInterval(running) }
}

async function residentBytes(pid: number | undefined): Promise<number> {
  const pages = await readFile(`/proc/${pid}/statm`, 'utf8').catch(() => '')
  return Number(pages.split(' ')[1] ?? 0) * pageBytes
}

/** Undefined: nobody tells. */
async function readBytes(pid: number | undefined): Promise<number | undefined> {
  const io = await readFile(`/proc/${pid}/io`, 'utf8').catch(() => '')
  const bytes = /^rchar: (\d+)$/m.exec(io)?.[1]
  return bytes === undefined ? undefined : Number(bytes)
}

function lowerPriority(pid: number | undefined, priority: number): void {
  if (pid === undefined || priority === constants.priority.PRIORITY_NORMAL) return
  try {
    setPriority(pid, priority)
  } catch {
    // It only disturbs others a little more.
  }
}
