/**
 * When frames of a WAL are copied back, and when writers are held off for it. An application that restarts its WAL itself
 * is left to it; a checkpoint that fails, or that a reader keeps from restarting the WAL, is tried again after a pause.
 * All times are of a monotonic clock, in milliseconds.
 */

/** Frames that SQLite has published, and how many of them are in the database file. */
interface Wal {
  readonly frameCount: number
  readonly copiedBackCount: number
}

/**
 * An application that restarts its WAL itself is left to it for this long, until the WAL is this many times our limit:
 * its checkpoint that meets one of ours comes back busy at once, whatever its busy timeout.
 */
const selfCheckpointingMs = 60_000
const selfCheckpointingFactor = 4
/** While an application restarts its WAL again and again, holding off all writers until we follow, it is looked at often. */
const eagerMs = 1000

/** Between rounds that did not let the WAL restart. */
const firstPauseMs = 250
const maxPauseMs = 10_000
/** A writer that is quicker than we are is no reason to wait longer than this. */
const maxPauseBesideWritersMs = 1000
/** Between checkpoints that fail, as on a full disk. */
const firstFailurePauseMs = 1000
const maxFailurePauseMs = 15_000
/** Between tries that hold writers off. */
const firstForcePauseMs = 1000
const maxForcePauseMs = 60_000

export class CheckpointPacing {
  #lastAtMs = 0
  #pauseMs = 0
  /** Whether a restart of the WAL is our doing: everything was copied back by one of our rounds. */
  #restartIsOurs = true
  #selfCheckpointingUntilMs = Number.NEGATIVE_INFINITY
  #restartedByOthersAtMs = Number.NEGATIVE_INFINITY
  #eagerUntilMs = Number.NEGATIVE_INFINITY
  #forcePauseUntilMs = 0
  #forcePauseMs = firstForcePauseMs

  /** Whether the application waits for us each time that it restarts its WAL. */
  isEager(nowMs: number): boolean {
    return nowMs < this.#eagerUntilMs
  }

  /** The interval begins anew: a round begins, or nothing is left to copy back. */
  begin(nowMs: number): void {
    this.#lastAtMs = nowMs
  }

  /** When frames are to be copied back whatever their number, or are tried again after a failure; undefined: never. */
  dueInMs(
    {
      intervalMs,
      isFailing,
    }: { readonly intervalMs: number | undefined; readonly isFailing: boolean },
    nowMs: number,
  ): number | undefined {
    const pauseMs = isFailing ? this.#pauseMs : intervalMs
    return pauseMs === undefined ? undefined : Math.max(0, this.#lastAtMs + pauseMs - nowMs)
  }

  /**
   * Whether a round is to begin beside what is not copied back. What is copied back while the file is suspicious would
   * explain what is to be found out: then it waits, until there is much.
   */
  isDue(
    { frameCount }: Wal,
    options: {
      readonly minFrameCount: number
      readonly isByTime: boolean
      readonly isSuspicious: boolean
    },
    nowMs: number,
  ): boolean {
    const { minFrameCount, isByTime, isSuspicious } = options
    const isLeftToIt = nowMs < this.#selfCheckpointingUntilMs
    const bySize = frameCount >= minFrameCount * (isLeftToIt ? selfCheckpointingFactor : 1)
    if (isSuspicious && frameCount < minFrameCount * selfCheckpointingFactor) return false
    return (bySize || isByTime) && nowMs - this.#lastAtMs >= this.#pauseMs
  }

  /**
   * A round has ended. `isDone`: nothing was left, so that the next write restarts the WAL. `hasReached`: all that was
   * committed when it began was copied back, which a reader of the application that pins the WAL does not allow.
   * `isTooLarge`: there is no time for a pause.
   */
  ended({
    isDone,
    hasReached,
    isTooLarge,
  }: {
    readonly isDone: boolean
    readonly hasReached: boolean
    readonly isTooLarge: boolean
  }): void {
    this.#restartIsOurs ||= isDone
    const longestMs = hasReached ? maxPauseBesideWritersMs : maxPauseMs
    this.#pauseMs =
      isDone || isTooLarge ? 0 : Math.min(Math.max(this.#pauseMs * 2, firstPauseMs), longestMs)
  }

  failed(): void {
    this.#pauseMs = Math.min(Math.max(this.#pauseMs * 2, firstFailurePauseMs), maxFailurePauseMs)
  }

  mayForce(nowMs: number): boolean {
    return nowMs >= this.#forcePauseUntilMs
  }

  /** Writers were held off; `isDone`: the next write restarts the WAL. */
  forced({ isDone }: { readonly isDone: boolean }, nowMs: number): void {
    this.#restartIsOurs ||= isDone
    this.#forcePauseMs = isDone
      ? firstForcePauseMs
      : Math.min(this.#forcePauseMs * 2, maxForcePauseMs)
    this.#forcePauseUntilMs = nowMs + this.#forcePauseMs
  }

  /** The WAL was restarted, by the write after one of our rounds, or by the application itself. */
  restarted(nowMs: number): void {
    if (!this.#restartIsOurs) {
      this.#selfCheckpointingUntilMs = nowMs + selfCheckpointingMs
      if (nowMs - this.#restartedByOthersAtMs < eagerMs) this.#eagerUntilMs = nowMs + eagerMs
      this.#restartedByOthersAtMs = nowMs
    }
    this.#restartIsOurs = false
  }
}
