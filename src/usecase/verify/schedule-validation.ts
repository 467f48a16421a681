import { CheckTimeoutError, CorruptionError } from '../../domain/errors.js'
import { formatPosition } from '../../domain/wal/position.js'
import { isAbortError } from '../../kit/abort.js'
import { type Slots } from '../../kit/permits.js'
import { type Clock } from '../ports/clock.js'
import { type Logger } from '../ports/logger.js'
import { type Remembered } from '../ports/remembered.js'
import { type ValidatedRestores } from './validated-restores.js'
import { type ValidationReport } from './validate-replica.js'

export interface ScheduleValidationOptions {
  readonly validate: (signal: AbortSignal) => Promise<ValidationReport>
  /** Removes what a crash left of earlier restores. */
  readonly sweep: () => Promise<void>
  /** When it was last validated, milliseconds since 1970. */
  readonly record: Remembered<number>
  readonly intervalMs: number
  /** Shared by all replicas of the process. */
  readonly slots: Slots
  readonly clock: Clock
  readonly logger: Logger
  /** A number from 0 up to 1. */
  readonly random: () => number
  /** Is told when a restore was valid or not; a replica that could not be asked, or a restore that could not be checked in time, is neither. */
  readonly validated: ValidatedRestores
}

/** After a failure it is tried again this soon, if the interval is longer; not where it took too long, and others wait. */
const retryMs = 15 * 60_000
/** How long one may take: others wait for it. A disk that is slow, or a store, gives a MiB a second; what is stored may compute without end. */
const leastMs = 10 * 60_000
const slowestBytesPerMs = 1024
/** Timers longer than 24 days fire at once. */
const maxTimerMs = 24 * 3_600_000

/** How long a validation of so many bytes may hold up others. */
export function fairValidationMs(bytes: number): number {
  return leastMs + bytes / slowestBytesPerMs
}

/**
 * Validates one replica now and then by restoring it, for ever: an interval after it was last validated, whichever process did
 * it, so that restarts neither postpone nor repeat it.
 */
export class ScheduleValidation {
  readonly #options: ScheduleValidationOptions

  constructor(options: ScheduleValidationOptions) {
    this.#options = options
  }

  /** Runs until `stop`, which also ends a restore under way and removes what it has written. */
  async run(stop: AbortSignal): Promise<void> {
    const { clock, intervalMs, random, record, sweep, logger, validated } = this.#options
    const jitter = (): number => 0.9 + random() * 0.2
    try {
      await sweep().catch((err: unknown) => {
        logger.warn({ err }, 'leftovers of a validation could not be removed')
      })
      validated.lastValidatedAtMs ??= await record.load(stop)
      let waitMs = intervalMs * jitter()
      if (validated.lastValidatedAtMs !== undefined) {
        waitMs = Math.min(waitMs, validated.lastValidatedAtMs + waitMs - clock.now())
      }
      for (;;) {
        await this.#sleep(waitMs, stop)
        const outcome = await this.#validate(stop)
        waitMs = (outcome === 'failed' ? Math.min(intervalMs, retryMs) : intervalMs) * jitter()
      }
    } catch (error) {
      if (!stop.aborted || !isAbortError(error)) throw error
    }
  }

  async #sleep(durationMs: number, stop: AbortSignal): Promise<void> {
    for (let leftMs = durationMs; leftMs > 0; leftMs -= maxTimerMs) {
      await this.#options.clock.sleep(Math.min(leftMs, maxTimerMs), stop)
    }
    stop.throwIfAborted()
  }

  async #validate(stop: AbortSignal): Promise<'done' | 'late' | 'failed'> {
    const { slots, validate, clock, record, logger, validated } = this.#options
    const slot = await slots.take(stop)
    try {
      const report = await validate(stop)
      const atMs = clock.now()
      validated.record({ isValid: true, atMs })
      this.#log(report)
      await record.save(atMs, stop)
      return 'done'
    } catch (error) {
      if (stop.aborted && isAbortError(error)) throw error
      if (error instanceof CorruptionError) {
        validated.record({ isValid: false, atMs: clock.now() })
        logger.error({ status: 'mismatch', err: error }, 'invalid replica')
      } else if (error instanceof CheckTimeoutError) {
        logger.error({ status: 'timeout', err: error }, 'not validated in time')
        return 'late'
      } else {
        logger.error({ err: error }, 'validation error')
      }
      return 'failed'
    } finally {
      slot[Symbol.dispose]()
    }
  }

  #log({ position, durationMs, comparison, pageCount, notes }: ValidationReport): void {
    const { logger } = this.#options
    for (const note of notes) logger.warn({}, note)
    const compared =
      comparison.verdict === 'same'
        ? { compared: comparison.comparedPages, changed: comparison.changedPages }
        : {}
    logger.info(
      {
        status: 'ok',
        position: formatPosition(position),
        pages: pageCount,
        database: comparison.verdict,
        ...compared,
        elapsed: `${Math.round(durationMs)}ms`,
      },
      'validator',
    )
  }
}
