/** When a replica was last proven, as a small file beside the spool: `validation-<name of the replica>.json`. */
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type ProvenRestore, type ValidationRecord } from '../../usecase/ports/validation-record.js'
import { createFolder, orLocalStateError, type Ownership, replaceFile } from './local-files.js'

export class FolderValidationRecord implements ValidationRecord {
  readonly #path: string
  readonly #owner: Ownership

  constructor(options: { path: string; replica: string } & Ownership) {
    this.#path = join(options.path, `validation-${encodeURIComponent(options.replica)}.json`)
    this.#owner = options
  }

  async load(signal: AbortSignal): Promise<ProvenRestore | undefined> {
    signal.throwIfAborted()
    try {
      const content: unknown = JSON.parse(await readFile(this.#path, 'utf8'))
      if (typeof content !== 'object' || content === null) return undefined
      if (!('provenAtMs' in content) || typeof content.provenAtMs !== 'number') return undefined
      return { atMs: content.provenAtMs }
    } catch {
      // Without it, a restore is only tried later or sooner than it was due.
      return undefined
    }
  }

  async save({ atMs }: ProvenRestore, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await orLocalStateError(`write ${this.#path}`, async () => {
      await createFolder(dirname(this.#path), this.#owner)
      const text = `${JSON.stringify({ version: 1, provenAtMs: atMs })}\n`
      await replaceFile(this.#path, new TextEncoder().encode(text), this.#owner)
    })
  }
}
