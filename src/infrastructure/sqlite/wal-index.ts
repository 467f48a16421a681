import fs from 'node:fs'
import { endianness } from 'node:os'
import { identifyLogFile, type LogFiles } from './log-files.js'

/**
 * SQLite's `wal.c`: two headers of 48 bytes, then a WalCkptInfo: frames copied back, five marks of readers, eight bytes of
 * locks, and up to which frame a checkpoint was going to copy when it last began. Numbers as the machine has them.
 */
const attemptedOffset = 2 * 48 + 4 + 5 * 4 + 8

/** What SQLite does not tell of the wal-index: read by its own descriptor, which is never opened again, and never closed. */
export class WalIndex {
  readonly #descriptor: number | undefined
  readonly #identity: LogFiles['shm']
  readonly #bytes = new DataView(new ArrayBuffer(4))

  /** `descriptor`: SQLite's of that file, undefined where it is not known. */
  constructor(descriptor: number | undefined, identity: LogFiles['shm']) {
    this.#descriptor = descriptor
    this.#identity = identity
  }

  /** Up to which frame some checkpoint was going to copy back when it began, whether it ended or not. Undefined: it is not known. */
  attemptedCount(): number | undefined {
    if (this.#descriptor === undefined) return undefined
    try {
      // SQLite may have closed it, and another file have got its number.
      if (identifyLogFile(fs.fstatSync(this.#descriptor)) !== this.#identity) return undefined
      if (fs.readSync(this.#descriptor, this.#bytes, 0, 4, attemptedOffset) < 4) return undefined
      return this.#bytes.getUint32(0, endianness() === 'LE')
    } catch {
      return undefined
    }
  }
}
