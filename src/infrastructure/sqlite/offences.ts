import { DatabaseError } from '../../domain/errors.js'
import { pauseAfter } from '../../kit/pause.js'

const pauses = { firstMs: 1000, mostMs: 5 * 60_000 }
/** After so long without another one, the next pause is as short as the first again. */
const forgivenAfterMs = 10 * 60_000

/** Databases that have ended the process in which SQLite has them open, and are held back for a while. */
export class Offences {
  readonly #nowMs: () => number
  readonly #offenders = new Map<number, { readonly count: number; readonly forgivenAtMs: number }>()
  readonly #held = new Map<number, { readonly untilMs: number; readonly error: DatabaseError }>()

  /** `nowMs`: of a clock that only goes on. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs
  }

  /** What counts is the owner: he may have any number of databases. */
  blame(database: number, { owner, why }: { readonly owner: number; readonly why: string }): void {
    const nowMs = this.#nowMs()
    const former = this.#offenders.get(owner)
    const count = former === undefined || nowMs >= former.forgivenAtMs ? 1 : former.count + 1
    const pauseMs = pauseAfter(count, pauses)
    this.#offenders.set(owner, { count, forgivenAtMs: nowMs + pauseMs + forgivenAfterMs })
    const until = new Date(Date.now() + pauseMs).toISOString()
    this.#held.set(database, {
      untilMs: nowMs + pauseMs,
      error: new DatabaseError(
        `it has ended the process in which SQLite reads it (${why}), as databases of its owner did ${count === 1 ? 'once' : `${count} times`} of late: it is not replicated until ${until}`,
        {
          hint: 'find out who truncates its -shm, damages its -wal, or puts something else in the place of its files while it is in use; the databases of other users are replicated meanwhile',
        },
      ),
    })
  }

  /** Whether a database of his has ever done so: he can do it again. */
  isOffender(owner: number): boolean {
    return this.#offenders.has(owner)
  }

  /** Throws a {@link DatabaseError} until its pause is over. */
  refuseHeld(database: number): void {
    const held = this.#held.get(database)
    if (held === undefined) return
    if (this.#nowMs() < held.untilMs) throw held.error
    this.#held.delete(database)
  }
}
