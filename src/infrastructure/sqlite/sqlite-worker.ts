/**
 * The inside of a thread or process that makes SQLite calls for the daemon: one request at a time, in order. Databases are
 * told apart by a number that the daemon chooses. Checkpoints, writer locks, and looks at the files of many databases
 * have threads or processes of the same code to themselves.
 */
import fs from 'node:fs'
import { parentPort } from 'node:worker_threads'
import { codeOf, messageOf } from '../../kit/error-text.js'
import { FileLooks } from './file-looks.js'
import { requireSafeSqlite } from './sqlite-version.js'
import { identifyLogFile, openLog } from './log-files.js'
import { type DatabaseFiles } from './opening.js'
import { WalCapture } from './wal-capture.js'
import { anotherWal } from './wal-file.js'
import { checkpoint } from './wal-reader.js'
import { WriterLock } from './writer-lock.js'
import { sayingWhatIsUnderWay, underWayDescriptor } from './under-way.js'
import {
  type LookOrder,
  type LookReply,
  type SqliteReply,
  type SqliteRequest,
} from './sqlite-messages.js'

requireSafeSqlite()

/** Only a process says so: a thread ends with the daemon. */
const atWork = sayingWhatIsUnderWay(parentPort === null ? underWayDescriptor : undefined)
const captures = new Map<number, WalCapture>()
const locks = new Map<number, WriterLock>()
const looks = new FileLooks((changed) => tell({ changed }))

function captureOf(database: number): WalCapture {
  const capture = captures.get(database)
  if (capture === undefined) throw new Error('the database is not open')
  return capture
}

function answer(request: SqliteRequest): unknown {
  switch (request.call) {
    case 'open': {
      captures.get(request.database)?.close()
      const capture = new WalCapture(request.path, {
        rollBytes: request.rollBytes,
        atWork: (work) => atWork(request.database, work),
      })
      const opened = capture.open(request.identity)
      if (opened !== undefined) captures.set(request.database, capture)
      return opened
    }
    case 'begin':
      return captureOf(request.database).begin(request.cursor)
    case 'continue-as':
      return captureOf(request.database).continueAs(request.index)
    case 'verifyMore':
      return captureOf(request.database).verifyMore()
    case 'capture':
      return captureOf(request.database).capture(request.maxBytes, request)
    case 'finish-wal':
      return captureOf(request.database).finishWal(request)
    case 'lock': {
      locks.get(request.database)?.release()
      const lock = WriterLock.take(request.path, {
        ...request,
        atWork: (work) => atWork(request.database, work),
      })
      if (lock !== undefined) locks.set(request.database, lock)
      return lock !== undefined
    }
    case 'unlock':
      locks.get(request.database)?.release()
      locks.delete(request.database)
      return undefined
    case 'rest':
      captures.get(request.database)?.rest()
      return undefined
    case 'close':
      captures.get(request.database)?.close()
      captures.delete(request.database)
      return undefined
    case 'checkpoint': {
      // The sync of the WAL is paid before the checkpoint's lock is taken, which an application's own checkpoint finds busy.
      syncWal(request)
      return checkpoint(request.path, request.files)
    }
  }
}

/** Opening and closing `-wal` drops none of SQLite's locks: they are on the database and on `-shm`. */
function syncWal({ path, files }: { path: string; files: DatabaseFiles }): void {
  const descriptor = openLog(`${path}-wal`)
  try {
    // What the wal-index knows is not in another one: garbage would be copied into the database.
    if (identifyLogFile(fs.fstatSync(descriptor)) !== files.log.wal) throw new Error(anotherWal)
    fs.fdatasyncSync(descriptor)
  } finally {
    fs.closeSync(descriptor)
  }
}

function transferOf(value: unknown): ArrayBuffer[] {
  if (typeof value !== 'object' || value === null) return []
  if ('capture' in value) return transferOf(value.capture)
  if (!('runs' in value) || !Array.isArray(value.runs)) return []
  return value.runs.flatMap((run: unknown) =>
    typeof run === 'object' && run !== null && 'bytes' in run && run.bytes instanceof Uint8Array
      ? run.bytes.buffer instanceof ArrayBuffer
        ? [run.bytes.buffer]
        : []
      : [],
  )
}

function tell(reply: SqliteReply | LookReply, transfer: ArrayBuffer[] = []): void {
  if (parentPort !== null) parentPort.postMessage(reply, transfer)
  // Whom it cannot be told to is gone.
  else process.send?.(reply, () => undefined)
}

function follow(request: SqliteRequest | LookOrder): void {
  if (request.call === 'look') {
    looks.add(request.id, request.look)
    return
  }
  if (request.call === 'forget') {
    looks.forget(request.id)
    return
  }
  let reply: SqliteReply
  let transfer: ArrayBuffer[] = []
  try {
    const value = atWork(request.database, () => answer(request))
    transfer = transferOf(value)
    reply = { id: request.id, ok: true, value }
  } catch (error) {
    const code = codeOf(error)
    reply = {
      id: request.id,
      ok: false,
      message: messageOf(error),
      code,
    }
  }
  tell(reply, transfer)
}

if (parentPort !== null) {
  parentPort.on('message', follow)
} else {
  process.on('message', follow)
  // As when the daemon is killed: nothing is copied back.
  process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'))
  // Who ends the daemon by a signal to all of its processes has it store what is left, which takes this one.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
}
