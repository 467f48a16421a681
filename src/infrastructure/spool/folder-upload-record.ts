/** Uploads under way, as a small file beside the spool: `uploads-<name of the replica>.json`. */
import { readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type UploadRecord } from '../../usecase/ports/upload-record.js'
import {
  createFolder,
  errorCode,
  orLocalStateError,
  type Ownership,
  replaceFile,
  syncFolder,
} from './local-files.js'

export class FolderUploadRecord implements UploadRecord {
  readonly #path: string
  readonly #owner: Ownership

  constructor(options: { path: string; replica: string } & Ownership) {
    this.#path = join(options.path, `uploads-${encodeURIComponent(options.replica)}.json`)
    this.#owner = options
  }

  async load(): Promise<readonly string[]> {
    return orLocalStateError(`read ${this.#path}`, async () => {
      try {
        return parseRecord(await readFile(this.#path, 'utf8'))
      } catch (error) {
        if (errorCode(error) === 'ENOENT') return []
        throw error
      }
    })
  }

  async save(keys: readonly string[]): Promise<void> {
    await orLocalStateError(`write ${this.#path}`, async () => {
      const folder = dirname(this.#path)
      await createFolder(folder, this.#owner)
      if (keys.length === 0) {
        await rm(this.#path, { force: true })
        await syncFolder(folder)
        return
      }
      const text = `${JSON.stringify({ version: 1, keys }, undefined, 2)}\n`
      await replaceFile(this.#path, new TextEncoder().encode(text), this.#owner)
    })
  }
}

/** What cannot be read is left out: then parts may stay that nobody sees. */
function parseRecord(text: string): string[] {
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch {
    return []
  }
  if (typeof content !== 'object' || content === null) return []
  if (!('keys' in content) || !Array.isArray(content.keys)) return []
  return content.keys.filter((key) => typeof key === 'string')
}
