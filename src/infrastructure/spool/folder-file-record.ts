/** What is remembered of the database file: `database-file.json`. */
import { parseGeneration } from '../../domain/wal/generation.js'
import { type FileRecord, type RememberedFile } from '../../usecase/ports/file-record.js'
import { JsonRecord, type JsonRecordOptions } from './json-record.js'

export class FolderFileRecord implements FileRecord {
  readonly #record: JsonRecord

  constructor(options: Omit<JsonRecordOptions, 'replica'>) {
    this.#record = new JsonRecord('database', { ...options, replica: 'file' })
  }

  async take(signal: AbortSignal): Promise<RememberedFile | undefined> {
    signal.throwIfAborted()
    const { generation: name, size, mtimeMs, copiedCount } = await this.#record.load()
    if (typeof name !== 'string') return undefined
    await this.#record.remove()
    const generation = parseGeneration(name)
    if (generation === undefined || typeof size !== 'number') return undefined
    if (typeof mtimeMs !== 'number' || typeof copiedCount !== 'number') return undefined
    return { generation, size, mtimeMs, copiedCount }
  }

  async save(file: RememberedFile, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await this.#record.save({ ...file })
  }
}
