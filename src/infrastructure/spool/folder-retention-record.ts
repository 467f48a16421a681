/** Deletions under way, as a small file beside the spool: `retention-<name of the replica>.json`. */
import { readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parseGeneration } from '../../domain/generation.js'
import {
  type RecordedDeletion,
  type RetentionRecord,
} from '../../usecase/ports/retention-record.js'
import {
  createFolder,
  errorCode,
  orLocalStateError,
  type Ownership,
  replaceFile,
  syncFolder,
} from './local-files.js'

export class FolderRetentionRecord implements RetentionRecord {
  readonly #path: string
  readonly #owner: Ownership

  constructor(options: { path: string; replica: string } & Ownership) {
    this.#path = join(options.path, `retention-${encodeURIComponent(options.replica)}.json`)
    this.#owner = options
  }

  async load(signal: AbortSignal): Promise<readonly RecordedDeletion[]> {
    signal.throwIfAborted()
    return orLocalStateError(`read ${this.#path}`, async () => {
      try {
        return parseRecord(await readFile(this.#path, 'utf8'))
      } catch (error) {
        if (errorCode(error) === 'ENOENT') return []
        throw error
      }
    })
  }

  async save(deletions: readonly RecordedDeletion[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await orLocalStateError(`write ${this.#path}`, async () => {
      const folder = dirname(this.#path)
      await createFolder(folder, this.#owner)
      if (deletions.length === 0) {
        await rm(this.#path, { force: true })
        await syncFolder(folder)
        return
      }
      const text = `${JSON.stringify({ version: 1, deletions }, undefined, 2)}\n`
      await replaceFile(this.#path, new TextEncoder().encode(text), this.#owner)
    })
  }
}

/** What cannot be read is left out: without it, less is deleted. */
function parseRecord(text: string): RecordedDeletion[] {
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch {
    return []
  }
  if (typeof content !== 'object' || content === null) return []
  if (!('deletions' in content) || !Array.isArray(content.deletions)) return []
  return content.deletions.flatMap(parseDeletion)
}

function parseDeletion(value: unknown): RecordedDeletion[] {
  if (typeof value !== 'object' || value === null) return []
  const fields = value as Partial<Record<keyof RecordedDeletion, unknown>>
  const generation =
    typeof fields.generation === 'string' ? parseGeneration(fields.generation) : undefined
  const { whole, reason, decidedAtMs } = fields
  if (generation === undefined || typeof whole !== 'boolean') return []
  if (typeof reason !== 'string' || typeof decidedAtMs !== 'number') return []
  return [{ generation, whole, reason, decidedAtMs }]
}
