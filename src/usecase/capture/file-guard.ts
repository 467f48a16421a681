import { FileWatch } from '../../domain/policy/file-watch.js'
import { type Broken, broken } from '../../domain/wal/break-reason.js'
import { type Generation } from '../../domain/wal/generation.js'
import { ignoreAbort, never } from '../../kit/abort.js'
import { type Clock } from '../ports/clock.js'
import { type FileRecord, type RememberedFile } from '../ports/file-record.js'
import { type Logger } from '../ports/logger.js'
import { type CaptureResult, type ManagedDatabase } from '../ports/managed-database.js'
import { type CaptureReport } from './capture-report.js'
import { type Checkpointed } from './copy-back.js'

export interface FileGuardOptions {
  readonly database: ManagedDatabase
  readonly record: FileRecord
  readonly clock: Clock
  readonly logger: Logger
  readonly report: CaptureReport
  /** Whether it is usual that the file is deleted. */
  readonly comesAndGoes: () => boolean
  /** Whether what is written past the WAL can be told page by page: then it is said by who has compared them. */
  readonly isCompared: () => boolean
}

/** The file of an active database is looked at this often: what is written to it past its WAL is told until the next frame is copied back. */
const activeLookMs = 250
/** A file that is suspicious is looked at this often. */
const suspiciousLookMs = 250
/** It is looked this often whether another process has the file open beside another log. */
const elsewhereLookMs = 10_000

/**
 * Looks whether the database file is what it was: the same one under its path, with its own log beside it, under one name,
 * and written by nobody past its WAL.
 */
export class FileGuard {
  readonly watch = new FileWatch()
  /** Of the last foreign write: no checkpoint that was killed can have done it. */
  #isSurelyForeign = true
  readonly #options: FileGuardOptions
  /** Of what is counted as copied back, the frames of earlier WALs. */
  #formerFrameCount = 0
  #saidNameCount = 1
  #namesProblem: string | undefined
  #elsewhereAt = Number.NEGATIVE_INFINITY
  /** At the last look: who is there at two looks was not just opening it. */
  #seenElsewhere: readonly string[] = []
  #saidElsewhere = ''

  constructor(options: FileGuardOptions) {
    this.#options = options
  }

  /** How long after a look the next one is due. */
  lookInMs({ monitorIntervalMs }: { readonly monitorIntervalMs: number }): number {
    if (this.watch.suspects()) return suspiciousLookMs
    return this.watch.isBehind ? 0 : Math.min(activeLookMs, monitorIntervalMs)
  }

  /** A generation begins with whatever the file is. */
  reset(): void {
    this.watch.reset()
    this.#formerFrameCount = 0
  }

  /** A generation goes on. Whoever wrote the file since it was remembered, and copied nothing back, wrote it past its WAL. */
  resume(generation: Generation, left: RememberedFile | undefined): void {
    if (left?.generation === generation) {
      this.watch.reset({ signs: left, copiedCount: left.copiedCount })
    } else {
      this.watch.resume(this.#formerFrameCount)
    }
    // Once: what was opened twice before anything was captured counts from here, too.
    this.#formerFrameCount = 0
  }

  captured(
    { wal, copiedCount, attemptedCount }: CaptureResult,
    { isAllCopied }: { readonly isAllCopied: boolean },
  ): void {
    if (wal.frameCount > 0) this.#formerFrameCount = copiedCount - wal.copiedBackCount
    this.watch.captured(
      { copiedCount, attemptedCount, isAllCopied },
      this.#options.clock.monotonic(),
    )
  }

  /** Remembers the file for the next start, if it is known that all that was written to it was copied back from the WAL. */
  async remember(generation: Generation, { wal }: CaptureResult, kill: AbortSignal): Promise<void> {
    const { record, logger } = this.#options
    const known = this.watch.settled
    if (known === undefined || wal.frameCount === 0) return
    const { size, mtimeMs } = known.signs
    try {
      await record.save({ generation, size, mtimeMs, copiedCount: wal.copiedBackCount }, kill)
    } catch (err) {
      logger.debug({ err }, 'the identity of the database file could not be recorded')
    }
  }

  /** Looks at the file. Says so where the path names another one now, or none; undefined: it is the same. */
  async look(): Promise<(Broken & { readonly isGone: boolean }) | undefined> {
    const { database, clock, logger, comesAndGoes } = this.#options
    const look = await database.look(never)
    if (look.kind === 'same') {
      this.watch.looked(look.signs)
      this.#countNames(look.signs.nlink)
      if (clock.monotonic() - this.#elsewhereAt >= elsewhereLookMs) await this.#lookElsewhere()
      return undefined
    }
    if (look.kind === 'log replaced') {
      const hint =
        'restart the application, which may still use the removed file: what it commits there is lost when it ends; then check the database. -wal and -shm are part of a database: never remove them while it is in use'
      const text = 'the -wal or -shm of the database was replaced while it was in use'
      logger.error({ path: database.path, detail: look.detail, hint }, text)
      return { ...broken('wal replaced', look.detail), isGone: false }
    }
    if (look.kind === 'gone') {
      const text =
        'database file was deleted: its replicas are kept, and replication continues when it is back'
      const hint = 'stop the application: what it commits into the deleted file is stored nowhere'
      if (comesAndGoes()) logger.info({ path: database.path }, text)
      else logger.error({ path: database.path, hint }, text)
      return { ...broken('database file replaced', 'it was deleted'), isGone: true }
    }
    logger.error(
      {
        path: database.path,
        hint: 'stop the application and tsreplicate before a database file is replaced, and move its -wal and -shm away',
      },
      'database file was replaced while it was in use: the application may see old content or errors until it is restarted',
    )
    return { ...broken('database file replaced', 'the path names another file'), isGone: false }
  }

  /** Whether somebody has written the database file past its WAL. */
  async foreignWrite(
    { isLast }: { readonly isLast: boolean },
    copyBack: () => Promise<Checkpointed | undefined>,
  ): Promise<Broken | undefined> {
    const { database, clock, logger } = this.#options
    const verdict = this.watch.verdict(clock.monotonic(), { isLast })
    if (verdict === 'usual' || verdict === 'wait') return undefined
    if (verdict === 'ask') {
      const copied = await copyBack()
      if (copied?.busy !== false) {
        this.watch.anotherRuns(clock.monotonic())
        return undefined
      }
    }
    const detail = this.watch.change
    this.#isSurelyForeign = verdict !== 'ask'
    if (this.#options.isCompared()) {
      const text = 'the database file may have been changed by something other than SQLite'
      logger.debug({ path: database.path, detail }, text)
    } else {
      this.sayForeign({ detail })
    }
    return broken('database file written past its wal', detail)
  }

  /** That somebody has written the file, and what to do. */
  sayForeign(found: { readonly detail: string; readonly changedPages?: number }): void {
    const { database, logger, isCompared } = this.#options
    const cut = this.#isSurelyForeign ? '' : ', unless it was killed while it copied pages back'
    const touched = isCompared() ? '' : ' or touched it'
    const hint = `something other than SQLite wrote the database file (cp, dd, rsync, a restored backup)${touched}${cut}; its -wal no longer matches it, and the application may read a mixture of both: check the database; to replace it, stop the application and tsreplicate, and move its -wal and -shm away`
    logger.error(
      { path: database.path, ...found, hint },
      'database file was changed by something other than SQLite',
    )
  }

  /** Another name is another WAL: whoever commits there is not seen. */
  #countNames(nameCount: number): void {
    const { database, logger } = this.#options
    this.#namesProblem =
      nameCount > 1
        ? `the database file has ${nameCount} names (hard links): what is committed through another name is not stored`
        : undefined
    this.#report()
    if (nameCount === this.#saidNameCount) return
    this.#saidNameCount = nameCount
    if (nameCount === 1) {
      logger.info({ path: database.path }, 'database file has one name again')
      return
    }
    const hint =
      'remove the other names; to copy a database, use tsreplicate restore or VACUUM INTO, not a link'
    logger.error({ path: database.path, hint }, this.#namesProblem ?? '')
  }

  /** At a database at rest. Resolves when another process has it open beside another log, or no more. */
  async waitForElsewhere(signal: AbortSignal): Promise<void> {
    const before = this.#saidElsewhere
    try {
      while (this.#saidElsewhere === before) {
        await this.#options.clock.sleep(elsewhereLookMs, signal)
        await this.#lookElsewhere()
      }
    } catch (error) {
      ignoreAbort(error)
    }
  }

  async #lookElsewhere(): Promise<void> {
    const { database, clock, logger } = this.#options
    this.#elsewhereAt = clock.monotonic()
    const found = await database.openedElsewhere(never)
    const stay = found.filter((name) => this.#seenElsewhere.includes(name)).join(', ')
    this.#seenElsewhere = found
    if (stay === this.#saidElsewhere) return
    this.#saidElsewhere = stay
    this.#report()
    if (stay === '') {
      logger.info(
        { path: database.path },
        'no process has the database open by another path any more',
      )
      return
    }
    logger.error(
      {
        path: database.path,
        by: stay,
        hint: 'what it commits is in a -wal in another folder: stop it, mount the folder of the database instead of the file, start it again, and check the database',
      },
      'a process has the database open by another path, with its own WAL: what it commits is not stored',
    )
  }

  #report(): void {
    const elsewhere = this.#saidElsewhere
    this.#options.report.fileProblem =
      this.#namesProblem ??
      (elsewhere === ''
        ? undefined
        : `${elsewhere} has the database open by another path, as through a mount of the single file: what it commits is not stored`)
  }
}
