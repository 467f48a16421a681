/**
 * The multipart uploads that are not finished. Some stores list unfinished uploads only under their exact key, so that
 * whoever began them has to remember them, also when he was killed since: their keys are recorded before they begin.
 */
import { type UploadRecord } from '../../../usecase/ports/upload-record.js'

export class UnfinishedUploads {
  readonly #record: UploadRecord | undefined
  /** Upload id → key. */
  readonly #running = new Map<string, string>()
  readonly #leftover = new Map<string, string>()
  /** Keys of uploads that may have begun: the answer that named their id was lost, or the process that asked. */
  readonly #uncertainKeys = new Set<string>()
  /** Keys of uploads whose beginning was asked for, and nothing answered yet. */
  readonly #beginningKeys = new Set<string>()
  #recorded: readonly string[] | undefined
  #saving: Promise<void> = Promise.resolve()

  constructor(record?: UploadRecord) {
    this.#record = record
  }

  /** Takes up what processes before this one have left. Again is harmless. */
  async load(): Promise<void> {
    if (this.#recorded !== undefined || this.#record === undefined) return
    const keys = await this.#record.load().catch(() => [])
    this.#recorded ??= keys
    for (const key of keys) this.#uncertainKeys.add(key)
  }

  /** An upload is about to begin. Resolves when that would be known after a crash. */
  async begins(key: string): Promise<void> {
    await this.load()
    this.#beginningKeys.add(key)
    await this.#save()
  }

  began(uploadId: string, key: string): void {
    this.#beginningKeys.delete(key)
    this.#running.set(uploadId, key)
  }

  mayHaveBegun(key: string): void {
    this.#beginningKeys.delete(key)
    this.#uncertainKeys.add(key)
  }

  /** It exists no more. */
  async ended(uploadId: string): Promise<void> {
    this.#running.delete(uploadId)
    this.#leftover.delete(uploadId)
    await this.#save()
  }

  /** Nobody works at it any more, but the store may still hold parts of it. */
  left(uploadId: string): void {
    const key = this.#running.get(uploadId)
    if (key === undefined) return
    this.#running.delete(uploadId)
    this.#leftover.set(uploadId, key)
  }

  isRunning(uploadId: string): boolean {
    return this.#running.has(uploadId)
  }

  leftovers(): { readonly uploadId: string; readonly key: string }[] {
    return [...this.#leftover].map(([uploadId, key]) => ({ uploadId, key }))
  }

  uncertainKeys(): string[] {
    return [...this.#uncertainKeys]
  }

  /** All uploads of the key are known. */
  async settleKey(key: string): Promise<void> {
    this.#uncertainKeys.delete(key)
    await this.#save()
  }

  /** One after the other. That the disk is full must not keep an object from being stored: then parts may be left. */
  #save(): Promise<void> {
    const record = this.#record
    if (record === undefined) return Promise.resolve()
    this.#saving = this.#saving.then(async () => {
      const keys = new Set([
        ...this.#running.values(),
        ...this.#leftover.values(),
        ...this.#uncertainKeys,
        ...this.#beginningKeys,
      ])
      const next = [...keys].sort()
      if (next.join('\n') === this.#recorded?.join('\n')) return
      try {
        await record.save(next)
        this.#recorded = next
      } catch {
        this.#recorded = []
      }
    })
    return this.#saving
  }
}
