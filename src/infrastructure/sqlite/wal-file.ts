/** The bytes of a database's `-wal`, as the file system has them. What of them is committed, only SQLite knows. */
import fs from 'node:fs'
import { offsetAfterFrames, walHeaderBytes } from '../../domain/wal/wal-format.js'
import { type WalState } from '../../usecase/ports/managed-database.js'
import { identifyLogFile, type LogFiles, openLog } from './log-files.js'
import { openByDescriptor } from '../sqlite-library/opened-file.js'

/** What it has was not captured, and what was captured is not in it. */
export const anotherWal = 'another -wal has taken the place of the one that is open'

/** The `-wal` that a reader was opened with, opened when it is first read. */
export class WalFile {
  readonly #path: string
  readonly #identity: LogFiles['wal']
  #descriptor: number | undefined

  /** `identity`: of the file that is to be found under the name; another one is not read. */
  constructor(databasePath: string, identity: LogFiles['wal']) {
    this.#path = `${databasePath}-wal`
    this.#identity = identity
  }

  /** Undefined: the file has none. */
  header(): Uint8Array | undefined {
    const bytes = new Uint8Array(walHeaderBytes)
    return this.readInto(bytes, 0) === walHeaderBytes ? bytes : undefined
  }

  read(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    return bytes.subarray(0, this.readInto(bytes, offset))
  }

  /** How many bytes there were, up to the file's end. */
  readInto(bytes: Uint8Array, offset: number): number {
    this.#descriptor ??= this.#open()
    let done = 0
    while (done < bytes.length) {
      const left = bytes.length - done
      const count = fs.readSync(this.#descriptor, bytes, done, left, offset + done)
      if (count === 0) break
      done += count
    }
    return done
  }

  /** Of the frames that are to be copied back, the first that is not as the last one; undefined: all seem to be there. */
  firstLostFrame(
    { frameCount, copiedBackCount }: WalState,
    pageSizeBytes: number,
  ): number | undefined {
    const saltsOf = (frame: number): Uint8Array =>
      this.read(offsetAfterFrames(frame - 1, pageSizeBytes) + 8, 8)
    const wanted = saltsOf(frameCount)
    for (let frame = copiedBackCount + 1; frame <= frameCount; frame += 1) {
      const salts = saltsOf(frame)
      const isZero = salts.every((byte) => byte === 0)
      if (salts.length < 8 || isZero || !sameHeader(salts, wanted)) return frame
    }
    return undefined
  }

  /** It can be read again: then it is opened anew. */
  close(): void {
    if (this.#descriptor !== undefined) fs.closeSync(this.#descriptor)
    this.#descriptor = undefined
  }

  /** Opens it though it has no name any more, by a descriptor that SQLite has of it, as long as a connection is open. */
  openDeleted(): void {
    this.#descriptor ??= openByDescriptor((stats) => identifyLogFile(stats) === this.#identity)
  }

  /** While a reader is held no connection unlinks the WAL, so the descriptor stays the file's. */
  #open(): number {
    const descriptor = openLog(this.#path)
    if (identifyLogFile(fs.fstatSync(descriptor)) === this.#identity) return descriptor
    fs.closeSync(descriptor)
    throw new Error(anotherWal)
  }
}

export function sameHeader(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : Buffer.compare(a, b) === 0
}
