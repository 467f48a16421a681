import {
  type DaemonDetails,
  findHanging,
  findNotReady,
  type NotReady,
} from '../../domain/status.js'
import { type Clock } from '../ports/clock.js'
import { type Replication } from './replicated-databases.js'
import { type WatchDisk } from './watch-disk.js'

export interface ReportStatusOptions {
  readonly replication: Pick<Replication, 'status' | 'failing' | 'neverBegun'>
  readonly watchDisk: WatchDisk
  readonly clock: Clock
  readonly facts: Pick<DaemonDetails, 'version' | 'pid' | 'source'>
}

/** A disk that does not answer must not keep the rest from being told. */
const maxMeasureMs = 2000

export class ReportStatus {
  readonly #options: ReportStatusOptions
  readonly #startedAtMs: number

  constructor(options: ReportStatusOptions) {
    this.#options = options
    this.#startedAtMs = options.clock.now()
  }

  /** Why what is committed is not safe; none: it is. */
  notReady(): readonly NotReady[] {
    const { replication } = this.#options
    const { failing, neverBegun } = replication
    return [...failing, ...neverBegun, ...findNotReady(replication.status())]
  }

  hanging(): readonly NotReady[] {
    const { replication } = this.#options
    return [...replication.neverBegun, ...findHanging(replication.status())]
  }

  /** Everything, with sizes measured anew. */
  async status(signal: AbortSignal): Promise<DaemonDetails> {
    const { replication, facts } = this.#options
    const { sizes, fileSystems } = await this.#measured(signal)
    const databases = replication.status()
    return {
      ...facts,
      startedAtMs: this.#startedAtMs,
      notReady: this.notReady(),
      databases: databases.map((database) => ({
        ...database,
        databaseBytes: sizes.get(database.path)?.databaseBytes,
        walBytes: sizes.get(database.path)?.walBytes,
      })),
      fileSystems,
    }
  }

  async #measured(signal: AbortSignal): Promise<WatchDisk['latest']> {
    const { watchDisk, clock } = this.#options
    const answered = new AbortController()
    const late = clock
      .sleep(maxMeasureMs, AbortSignal.any([signal, answered.signal]))
      .then(() => watchDisk.latest)
      .catch(() => watchDisk.latest)
    try {
      return await Promise.race([watchDisk.measure(), late])
    } finally {
      answered.abort()
    }
  }
}
