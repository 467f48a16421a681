import {
  findTroubles,
  type Happening,
  Happenings,
  kindOf,
  type Trouble,
} from '../../domain/replication-events.js'
import { ignoreAbort } from '../../kit/abort.js'
import { type Clock } from '../ports/clock.js'
import { type Replication } from './replicated-databases.js'

/** What a look has found. */
export interface News {
  readonly happenings: readonly Happening[]
  /** All that goes wrong now; undefined: the same as before. */
  readonly troubles: readonly Trouble[] | undefined
}

export interface NoticeEventsOptions {
  readonly replication: Pick<Replication, 'status' | 'failing' | 'neverBegun'>
  readonly clock: Clock
  readonly tell: (news: News) => void
}

const lookMs = 1000

/** Looks each second how a replication is, and tells what is new. */
export class NoticeEvents {
  readonly #options: NoticeEventsOptions
  readonly #happenings = new Happenings()
  #troubles: string | undefined

  constructor(options: NoticeEventsOptions) {
    this.#options = options
  }

  async run(stop: AbortSignal): Promise<void> {
    const { clock } = this.#options
    while (!stop.aborted) {
      this.look()
      await clock.sleep(lookMs, stop).catch(ignoreAbort)
    }
  }

  /** The first one tells what goes wrong even if nothing does. */
  look(): void {
    const { replication, tell } = this.#options
    const databases = replication.status()
    const happenings = this.#happenings.since(databases)
    const { failing, neverBegun } = replication
    const troubles = findTroubles(databases, [...failing, ...neverBegun])
    const former = this.#troubles
    this.#troubles = troubles.map(kindOf).sort().join('\n')
    const isSame = this.#troubles === former
    if (happenings.length === 0 && isSame) return
    tell({ happenings, troubles: isSame ? undefined : troubles })
  }
}
