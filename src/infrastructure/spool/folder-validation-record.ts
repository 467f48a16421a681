/** When a replica was last proven: `validation-<name of the replica>.json`. */
import { type ProvenRestore, type ValidationRecord } from '../../usecase/ports/validation-record.js'
import { JsonRecord, type JsonRecordOptions } from './json-record.js'

export class FolderValidationRecord implements ValidationRecord {
  readonly #record: JsonRecord

  constructor(options: JsonRecordOptions) {
    this.#record = new JsonRecord('validation', options)
  }

  async load(signal: AbortSignal): Promise<ProvenRestore | undefined> {
    signal.throwIfAborted()
    try {
      const { provenAtMs } = await this.#record.load()
      return typeof provenAtMs === 'number' ? { atMs: provenAtMs } : undefined
    } catch {
      // Without it, a restore is only tried later or sooner than it was due.
      return undefined
    }
  }

  async save({ atMs }: ProvenRestore, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await this.#record.save({ provenAtMs: atMs })
  }
}
