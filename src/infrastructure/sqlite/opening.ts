/**
 * Which files SQLite has opened for a connection. It opens by name and does not tell: the database at once, and `-wal` and
 * `-shm` when it first reads. Whoever can change a folder on the way can have somebody else's opened in between: whose frames
 * would be stored as his, or copied into his database. The descriptors tell, on Linux.
 */
import fs, { type Stats } from 'node:fs'
import { isMainThread } from 'node:worker_threads'
import { type FileIdentity } from '../../usecase/ports/managed-database.js'
import { OtherFileError, refuseOtherFile } from '../sqlite-library/opened-file.js'
import { refuseForeignOwner } from './beside-database.js'
import { identifyLogFile, type LogFiles, logFilesNow } from './log-files.js'

/** What a connection has to open. */
export interface DatabaseFiles {
  readonly identity: FileIdentity
  readonly log: LogFiles
}

interface Opened {
  readonly descriptor: number
  readonly stats: Stats
}

const folder = '/proc/self/fd'
const canTell = fs.existsSync(folder)
/** More than a connection opens at once, or a few after each other. */
const usualCount = 16

/** What is opened from its making on: it gets the lowest descriptors that are free. */
export class Opening {
  readonly #next: readonly number[]

  constructor() {
    this.#next = canTell ? nextDescriptors(usualCount) : []
  }

  /** Throws an {@link OtherFileError} unless that file was opened, and, where nobody else opens any, no other one. */
  refuseOtherFile(identity: FileIdentity): void {
    refuseOtherFile(identity, this.#next[0] ?? 0)
    if (isMainThread) this.#refuseAllBut([idOf(identity)])
  }

  /**
   * The logs of a connection to it that has read by now, which have to lie beside that file. The connections of a process share
   * its `-shm`. `path`: its name.
   */
  logsBeside(identity: FileIdentity, path: string): LogFiles {
    if (!canTell) return logFilesNow(path)
    const database = this.#find(({ stats }) => identifyLogFile(stats) === idOf(identity))
    if (database === undefined) throw new OtherFileError('another file is in its place')
    const real = linkOf(database.descriptor)
    const idBeside = (suffix: string): string | undefined => {
      const log = this.#find(({ descriptor }) => linkOf(descriptor) === `${real}${suffix}`)
      if (log === undefined)
        throw new OtherFileError(`another file is in the place of its ${suffix}`)
      refuseForeignOwner(`${real}${suffix}`, log.stats, database.stats)
      return identifyLogFile(log.stats)
    }
    const log = { wal: idBeside('-wal'), shm: idBeside('-shm') }
    this.refuseOtherLogs({ identity, log })
    return log
  }

  /** SQLite's own of that log; undefined: there is none, or it is not known. */
  descriptorOf(log: string | undefined): number | undefined {
    return canTell
      ? this.#find(({ stats }) => identifyLogFile(stats) === log)?.descriptor
      : undefined
  }

  /** Of a connection that has read by now. Throws an {@link OtherFileError} unless it is these that were opened. */
  refuseOtherLogs({ identity, log }: DatabaseFiles): void {
    if (!canTell) return
    const isThat = ({ stats }: Opened): boolean => identifyLogFile(stats) === log.wal
    // A thread cannot tell what it has opened from what others have.
    const opened = isMainThread ? this.#opened().find(isThat) : this.#find(isThat)
    if (opened === undefined) {
      throw new OtherFileError('another file is in the place of its -wal')
    }
    if (isMainThread) this.#refuseAllBut([idOf(identity), log.wal, log.shm])
  }

  /** Of a connection that was closed, and of what a process shares, SQLite takes the descriptor that is there. */
  #find(isThat: (file: Opened) => boolean): Opened | undefined {
    return this.#opened().find(isThat) ?? all().find(isThat)
  }

  #refuseAllBut(ids: readonly (string | undefined)[]): void {
    const isOther = ({ stats }: Opened): boolean => !ids.includes(identifyLogFile(stats))
    if (this.#opened().some(isOther)) throw new OtherFileError('another file is in its place')
  }

  #opened(): readonly Opened[] {
    return this.#next.flatMap(openedAs)
  }
}

function idOf({ device, inode }: FileIdentity): string {
  return `${device}:${inode}`
}

function all(): readonly Opened[] {
  return fs.readdirSync(folder).flatMap((name) => openedAs(Number(name)))
}

/** Nothing where there is none, or no regular file. */
function openedAs(descriptor: number): readonly Opened[] {
  try {
    const stats = fs.fstatSync(descriptor)
    return stats.isFile() ? [{ descriptor, stats }] : []
  } catch {
    return []
  }
}

function linkOf(descriptor: number): string | undefined {
  try {
    return fs.readlinkSync(`${folder}/${descriptor}`)
  } catch {
    return undefined
  }
}

function nextDescriptors(count: number): readonly number[] {
  const descriptors = Array.from({ length: count }, () => fs.openSync('/dev/null', 'r'))
  for (const descriptor of descriptors) fs.closeSync(descriptor)
  return descriptors
}
