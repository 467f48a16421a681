import { type FileHandle } from 'node:fs/promises'
import { type FileIdentity } from '../../usecase/ports/managed-database.js'
import { openRegularFile } from '../files/regular-files.js'

/** Read at once: whole pages, whatever their size. */
const pieceBytes = 256 * 1024

/** A database that was just restored. To be read before SQLite opens it in this process: closing this would drop its locks. */
export class RestoredFile implements AsyncDisposable {
  readonly identity: FileIdentity
  /** The user whose it is. */
  readonly owner: number
  readonly #file: FileHandle

  private constructor(file: FileHandle, identity: FileIdentity, owner: number) {
    this.#file = file
    this.identity = identity
    this.owner = owner
  }

  static async open(path: string): Promise<RestoredFile> {
    const file = await openRegularFile(path)
    const { dev, ino, uid } = await file.stat()
    return new RestoredFile(file, { device: dev, inode: ino }, uid)
  }

  async *read(): AsyncIterable<Uint8Array> {
    for (let at = 0; ;) {
      const { buffer, bytesRead } = await this.#file.read(
        new Uint8Array(pieceBytes),
        0,
        pieceBytes,
        at,
      )
      if (bytesRead === 0) return
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
  }
}
