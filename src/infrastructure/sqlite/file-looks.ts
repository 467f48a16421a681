/** Looks at the files of idle databases again and again, in a thread that sleeps in between. */
import { statSync } from 'node:fs'
import { type FileSigns, formatFingerprint } from '../../domain/wal/file-fingerprint.js'
import { type Look } from './sqlite-messages.js'

interface Round {
  readonly looks: Map<number, Look>
  readonly timer: NodeJS.Timeout
}

export class FileLooks {
  /** Databases that are looked at in the same rhythm have one timer. */
  readonly #rounds = new Map<number, Round>()
  readonly #intervals = new Map<number, number>()
  readonly #changed: (id: number) => void

  /** `changed` is called once for each look whose files are no longer as they were; it is forgotten then. */
  constructor(changed: (id: number) => void) {
    this.#changed = changed
  }

  add(id: number, look: Look): void {
    const { intervalMs } = look
    let round = this.#rounds.get(intervalMs)
    if (round === undefined) {
      const looks = new Map<number, Look>()
      round = { looks, timer: setInterval(() => this.#lookAtAll(looks), intervalMs) }
      this.#rounds.set(intervalMs, round)
    }
    round.looks.set(id, look)
    this.#intervals.set(id, intervalMs)
  }

  forget(id: number): void {
    const intervalMs = this.#intervals.get(id)
    const round = intervalMs === undefined ? undefined : this.#rounds.get(intervalMs)
    this.#intervals.delete(id)
    if (intervalMs === undefined || round === undefined) return
    round.looks.delete(id)
    if (round.looks.size > 0) return
    clearInterval(round.timer)
    this.#rounds.delete(intervalMs)
  }

  #lookAtAll(looks: ReadonlyMap<number, Look>): void {
    for (const [id, { path, file, before }] of [...looks]) {
      const [wal, shm] = [signsOf(`${file}-wal`), signsOf(`${file}-shm`)]
      if (formatFingerprint(signsOf(path), wal, shm) === before) continue
      this.forget(id)
      this.#changed(id)
    }
  }
}

function signsOf(path: string): FileSigns | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    return undefined
  }
}
