/**
 * The inside of the thread that looks at the files of all idle databases again and again, so that the main thread sleeps
 * meanwhile, and a disk that hangs does not hold it up.
 */
import { statSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import { type FileSigns, formatFingerprint } from '../../domain/wal/file-fingerprint.js'
import { type LookReply, type LookRequest } from './look-messages.js'

type Look = Extract<LookRequest, { kind: 'look' }>

/** Databases that are looked at in the same rhythm have one timer. */
const rounds = new Map<
  number,
  { readonly looks: Map<number, Look>; readonly timer: NodeJS.Timeout }
>()
const intervals = new Map<number, number>()

function signsOf(path: string): FileSigns | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

function lookAtAll(looks: Map<number, Look>): void {
  for (const { id, path, file, before } of [...looks.values()]) {
    const [wal, shm] = [signsOf(`${file}-wal`), signsOf(`${file}-shm`)]
    if (formatFingerprint(signsOf(path), wal, shm) === before) continue
    forget(id)
    parentPort?.postMessage({ id } satisfies LookReply)
  }
}

function add(look: Look): void {
  let round = rounds.get(look.intervalMs)
  if (round === undefined) {
    const looks = new Map<number, Look>()
    const timer = setInterval(() => {
      lookAtAll(looks)
    }, look.intervalMs)
    round = { looks, timer }
    rounds.set(look.intervalMs, round)
  }
  round.looks.set(look.id, look)
  intervals.set(look.id, look.intervalMs)
}

function forget(id: number): void {
  const intervalMs = intervals.get(id)
  const round = intervalMs === undefined ? undefined : rounds.get(intervalMs)
  intervals.delete(id)
  if (intervalMs === undefined || round === undefined) return
  round.looks.delete(id)
  if (round.looks.size > 0) return
  clearInterval(round.timer)
  rounds.delete(intervalMs)
}

parentPort?.on('message', (request: LookRequest) => {
  if (request.kind === 'look') add(request)
  else forget(request.id)
})
