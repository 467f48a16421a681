/**
 * Whether somebody writes the database file past its WAL. In WAL mode nobody does but a checkpoint, and each one that has
 * ended shows in the number of frames that are copied back. So the file is looked at between two looks at the WAL: when it
 * has changed and no frame was copied back, then somebody else wrote it, unless there are frames that a checkpoint may be
 * copying at this moment, or was copying when its process was killed: the next one copies the same frames again. The file's
 * times tell that it was written, not what: one that is only touched is taken for written.
 */
import { type FileSigns } from '../wal/file-fingerprint.js'

/** What of the file changes with its content. */
export type ContentSigns = Pick<FileSigns, 'size' | 'mtimeMs'>

/** What a look at the WAL says of checkpoints. */
export interface Copying {
  /** Frames that were copied back since capturing began, restarts of the WAL included. */
  readonly copiedCount: number
  /** The same of frames that some checkpoint has begun to copy back, whether it ended or not; undefined: it is not known. */
  readonly attemptedCount?: number | undefined
  /** Whether there is no frame that a checkpoint could be copying back. */
  readonly isAllCopied: boolean
}

/** The file as it was when so many frames had been copied back. */
interface KnownFile {
  readonly signs: ContentSigns
  readonly copiedCount: number
  /** Of an earlier process's look it is not known. */
  readonly attemptedCount?: number | undefined
}

interface Suspicion {
  readonly signs: ContentSigns
  /** Since when the file is as it is. */
  readonly quietSinceMs: number
  readonly beganAtMs: number
  /** No checkpoint can have done it. */
  readonly isProven: boolean
}

/** Who writes a file is let finish, and a checkpoint that syncs is let end. */
const quietMs = 1000
/** Longer than this a file that never comes to rest is not waited for. */
const maxWaitMs = 10_000

export class FileWatch {
  #known: KnownFile | undefined
  #look: KnownFile | undefined
  #copiedCount: number | undefined
  #attemptedCount: number | undefined
  #suspicion: Suspicion | undefined

  /** Begins anew: with nothing known, or with what an earlier process has left. */
  reset(known?: KnownFile): void {
    this.#known = known
    this.#look = this.#copiedCount = this.#attemptedCount = this.#suspicion = undefined
  }

  /** Begins anew in the same WAL, of which the count of frames goes by `lessCount` less. */
  resume(lessCount: number): void {
    const known = this.#known
    const isOlder = known === undefined || known.copiedCount < lessCount
    this.reset(isOlder ? undefined : withLess(known, lessCount))
  }

  /** The file was looked at. What it means is known at the next look at the WAL. */
  looked({ size, mtimeMs }: ContentSigns): void {
    const copiedCount = this.#copiedCount
    const attemptedCount = this.#attemptedCount
    this.#look =
      copiedCount === undefined
        ? undefined
        : { signs: { size, mtimeMs }, copiedCount, attemptedCount }
  }

  captured({ copiedCount, attemptedCount, isAllCopied }: Copying, nowMs: number): void {
    const look = this.#look
    this.#look = undefined
    // A WAL that was over at the first look, all of it copied back, is counted until the first one that is captured begins.
    const overCount = this.#copiedCount ?? 0
    if (this.#known !== undefined && copiedCount < overCount) {
      this.#known = withLess(this.#known, overCount)
    }
    this.#copiedCount = copiedCount
    this.#attemptedCount = attemptedCount
    const isExplained = this.#known === undefined || copiedCount > this.#known.copiedCount
    const isUnderWay = this.#isUnderWay
    if ((isExplained || isUnderWay) && this.#suspicion?.isProven === false) {
      this.#suspicion = undefined
    }
    // What was copied back around the look may be in the file or not.
    if (look?.copiedCount !== copiedCount || this.#suspicion?.isProven === true) {
      if (look !== undefined) this.#follow(look.signs, nowMs)
      return
    }
    if (isExplained || isSame(this.#known?.signs, look.signs)) {
      this.#known = look
      this.#suspicion = undefined
      return
    }
    if (isUnderWay) return
    const isProven = isAllCopied && copiedCount === this.#known?.copiedCount
    this.#suspicion ??= { signs: look.signs, quietSinceMs: nowMs, beganAtMs: nowMs, isProven }
    this.#suspicion = { ...this.#suspicion, isProven }
    this.#follow(look.signs, nowMs)
  }

  /** Whether a checkpoint has begun since the file was known, and has not ended: it goes on, or was killed. */
  get #isUnderWay(): boolean {
    const before = this.#known?.attemptedCount
    const [attempted, copied] = [this.#attemptedCount, this.#copiedCount]
    if (before === undefined || attempted === undefined || copied === undefined) return false
    return attempted > before && attempted > copied
  }

  /** A file that goes on changing is not quiet. */
  #follow(signs: ContentSigns, nowMs: number): void {
    if (this.#suspicion === undefined || isSame(this.#suspicion.signs, signs)) return
    this.#suspicion = { ...this.#suspicion, signs, quietSinceMs: nowMs }
  }

  /** No checkpoint could be begun, as another one runs: it may be the one that writes. */
  anotherRuns(nowMs: number): void {
    if (this.#suspicion !== undefined) {
      this.#suspicion = { ...this.#suspicion, quietSinceMs: nowMs }
    }
  }

  /**
   * Whether the file is to be looked at at once: it is not known as it is since the last frame was copied back, and who
   * writes it before it is has the same explanation.
   */
  get isBehind(): boolean {
    return this.#known === undefined || this.#known.copiedCount !== this.#copiedCount
  }

  suspects(): boolean {
    return this.#suspicion !== undefined
  }

  /** No checkpoint can have written the file as it was last seen. */
  get isProven(): boolean {
    return this.#suspicion?.isProven === true
  }

  /** Whether what is captured should not be stored yet: it may belong to another content of the file. */
  holds(nowMs: number): boolean {
    return this.#suspicion !== undefined && nowMs - this.#suspicion.beganAtMs < maxWaitMs
  }

  /**
   * `ask`: if no checkpoint runs at this moment, none has written the file. `foreign`: none has. The last time it is asked,
   * what is proven is not waited for.
   */
  verdict(nowMs: number, { isLast = false } = {}): 'usual' | 'wait' | 'ask' | 'foreign' {
    const suspicion = this.#suspicion
    if (suspicion === undefined) return 'usual'
    const { quietSinceMs, beganAtMs, isProven } = suspicion
    if (isProven && (isLast || nowMs - beganAtMs >= maxWaitMs)) return 'foreign'
    if (nowMs - quietSinceMs < quietMs) return 'wait'
    return isProven ? 'foreign' : 'ask'
  }

  get change(): string {
    const [before, after] = [this.#known?.signs, this.#suspicion?.signs]
    if (before === undefined || after === undefined) return ''
    const size =
      before.size === after.size
        ? `its size is ${after.size} as before`
        : `its size went from ${before.size} to ${after.size}`
    return `${size}, and it was modified at ${formatTime(after.mtimeMs)}, after ${formatTime(before.mtimeMs)}`
  }

  /** The file as it was at the last look, if all that has to do with it is known; else undefined. */
  get settled(): KnownFile | undefined {
    const isCurrent = this.#known?.copiedCount === this.#copiedCount
    return isCurrent && this.#suspicion === undefined ? this.#known : undefined
  }
}

/** The same look, where the count of frames goes by so much less. */
function withLess({ signs, copiedCount, attemptedCount }: KnownFile, lessCount: number): KnownFile {
  return {
    signs,
    copiedCount: copiedCount - lessCount,
    attemptedCount: attemptedCount === undefined ? undefined : attemptedCount - lessCount,
  }
}

function isSame(a: ContentSigns | undefined, b: ContentSigns): boolean {
  return a?.size === b.size && a.mtimeMs === b.mtimeMs
}

function formatTime(timeMs: number): string {
  return new Date(timeMs).toISOString()
}
