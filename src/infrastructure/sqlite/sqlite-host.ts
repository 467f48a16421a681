/**
 * Where SQLite calls are made: in a thread of the daemon, or in a process apart. SQLite maps `-shm` into memory, and whoever
 * truncates that file ends the process of everybody who has it mapped (SIGBUS). A process that does not get on is ended.
 */
import { fork } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { copyOf } from '../../kit/free-memory.js'
import { withoutDebugger } from '../../kit/without-debugger.js'
import { type CapturedRun, type CaptureResult } from '../../usecase/ports/managed-database.js'
import {
  type LookOrder,
  type LookReply,
  type SqliteReply,
  type SqliteRequest,
} from './sqlite-messages.js'
import { watchForStuck } from './stuck-process.js'
import { readUnderWay } from './under-way.js'

export interface SqliteHostEvents {
  readonly said: (reply: SqliteReply | LookReply) => void
  /** May be told more than once. `underWay`: the database that was worked on, or `nothing`; undefined: it is not known. */
  readonly died: (cause: unknown, underWay?: number) => void
  /** Nothing of it runs any more, whatever the reason. */
  readonly ended: () => void
}

export interface SqliteHost {
  readonly pid: number
  post(order: SqliteRequest | LookOrder): void
  end(): Promise<unknown>
}

const entry = new URL('./sqlite-worker.js', import.meta.url)

/** What a call allocates is short-lived and small, but for WAL pages, which lie outside the heap. By default, it grows to some 50. */
const maxYoungGenerationSizeMb = 2

export function startThread({ said, died, ended }: SqliteHostEvents): SqliteHost {
  const worker = new Worker(entry, { resourceLimits: { maxYoungGenerationSizeMb } })
  worker.on('message', said)
  worker.on('error', died)
  worker.on('exit', (code) => {
    ended()
    died(new Error(`its exit code is ${code}`))
  })
  return {
    pid: process.pid,
    post: (order) => worker.postMessage(order),
    end: () => worker.terminate(),
  }
}

export function startProcess({ said, died, ended }: SqliteHostEvents): SqliteHost {
  const underWay = openUnderWay()
  const child = fork(fileURLToPath(entry), {
    execArgv: [withoutDebugger, `--max-semi-space-size=${maxYoungGenerationSizeMb}`],
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'inherit', 'ipc', underWay ?? 'ignore'],
  })
  let stuckFor: Error | undefined
  const { pid } = child
  const watch =
    pid === undefined || underWay === undefined
      ? undefined
      : watchForStuck({ pid, underWay }, (why) => {
          stuckFor = why
          child.kill('SIGKILL')
        })
  const exited = new Promise<void>((resolve) => {
    child.on('error', (error) => end(error))
    child.once('exit', (code, killedBy) =>
      end(new Error(killedBy ?? `its exit code is ${String(code)}`)),
    )
    let isOver = false
    function end(why: Error): void {
      if (isOver) return
      isOver = true
      watch?.[Symbol.dispose]()
      ended()
      const database = underWay === undefined ? undefined : readUnderWay(underWay)
      if (underWay !== undefined) fs.closeSync(underWay)
      died(stuckFor ?? why, database)
      resolve()
    }
  })
  child.on('message', (reply: SqliteReply) => said(owned(reply)))
  return {
    pid: pid ?? process.pid,
    // What could not be sent is not answered, since it is dead then.
    post: (order) => void child.send(order, () => undefined),
    end: () => {
      child.kill('SIGKILL')
      return exited
    },
  }
}

/** A file without a name, in which the process says what it works on: that is known when it has died. Undefined: none is to be had. */
function openUnderWay(): number | undefined {
  const { O_RDWR, O_CREAT, O_EXCL } = fs.constants
  const path = join(tmpdir(), `tsreplicate-${randomUUID()}`)
  try {
    const descriptor = fs.openSync(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
    fs.unlinkSync(path)
    return descriptor
  } catch {
    return undefined
  }
}

/** What was captured lies in the memory of the whole message, and its receivers free each run of it by itself. */
function owned(reply: SqliteReply): SqliteReply {
  if (!reply.ok || !isCapture(reply.value)) return reply
  const runs = reply.value.runs.map((run): CapturedRun => ({ ...run, bytes: copyOf(run.bytes) }))
  return { ...reply, value: { ...reply.value, runs } satisfies CaptureResult }
}

function isCapture(value: unknown): value is CaptureResult {
  return typeof value === 'object' && value !== null && 'runs' in value
}
