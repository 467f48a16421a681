/** When a replica was last validated: `validation-<name of the replica>.json`. */
import {
  type ValidatedRestore,
  type ValidationRecord,
} from '../../usecase/ports/validation-record.js'
import { JsonRecord, type JsonRecordOptions } from './json-record.js'

export class FolderValidationRecord implements ValidationRecord {
  readonly #record: JsonRecord

  constructor(options: JsonRecordOptions) {
    this.#record = new JsonRecord('validation', options)
  }

  async load(signal: AbortSignal): Promise<ValidatedRestore | undefined> {
    signal.throwIfAborted()
    try {
      const { provenAtMs } = await this.#record.load()
      return typeof provenAtMs === 'number' ? { atMs: provenAtMs } : undefined
    } catch {
      // Without it, a restore is only tried later or sooner than it was due.
      return undefined
    }
  }

  async save({ atMs }: ValidatedRestore, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await this.#record.save({ provenAtMs: atMs })
  }
}
