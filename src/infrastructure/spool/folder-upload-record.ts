/** Uploads under way: `uploads-<name of the replica>.json`. */
import { type UploadRecord } from '../../usecase/ports/upload-record.js'
import { JsonRecord, type JsonRecordOptions } from './json-record.js'

export class FolderUploadRecord implements UploadRecord {
  readonly #record: JsonRecord

  constructor(options: JsonRecordOptions) {
    this.#record = new JsonRecord('uploads', options)
  }

  /** What cannot be read is left out: then parts may stay that nobody sees. */
  async load(): Promise<readonly string[]> {
    const { keys } = await this.#record.load()
    return Array.isArray(keys) ? keys.filter((key) => typeof key === 'string') : []
  }

  async save(keys: readonly string[]): Promise<void> {
    await (keys.length === 0 ? this.#record.remove() : this.#record.save({ keys }))
  }
}
