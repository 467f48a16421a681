import { type SegmentPages } from '../../domain/pages/segment-pages.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { type SpooledSegment } from '../ports/spool.js'
import { type SegmentAssembly } from './segment-assembly.js'

/** A segment is durable, in order. */
export type OnSealed = (segment: SpooledSegment, pages: SegmentPages | undefined) => void

/**
 * Makes complete segments durable, one after the other, beside the capture loop: a disk that syncs slowly must not keep
 * the loop from renewing its reader, behind which the application's checkpoints wait.
 */
export class SegmentSealer {
  readonly #onSealed: OnSealed
  readonly #waiting: SegmentAssembly[] = []
  #running: Promise<void> | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(onSealed: OnSealed) {
    this.#onSealed = onSealed
  }

  get isIdle(): boolean {
    return this.#waiting.length === 0
  }

  get waitingCount(): number {
    return this.#waiting.length
  }

  /** Where the last segment ends that is not durable yet. */
  get end(): WalPosition | undefined {
    return this.#waiting.at(-1)?.end
  }

  add(assembly: SegmentAssembly, signal: AbortSignal): void {
    this.#waiting.push(assembly)
    if (this.#failure === undefined) this.#running ??= this.#run(signal)
  }

  /** Resolves when nothing is being made durable any more; {@link throwFailure} tells whether that went well. */
  async settled(): Promise<void> {
    await this.#running
  }

  /** What a segment failed with; no later one is made durable, as it would leave a gap. */
  throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** Gives up what is not durable, and forgets a failure. */
  async discard(): Promise<void> {
    const rest = this.#waiting.splice(1)
    await this.#running
    for (const assembly of [...this.#waiting.splice(0), ...rest]) {
      await assembly[Symbol.asyncDispose]()
    }
    this.#failure = undefined
  }

  async #run(signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        const [assembly] = this.#waiting
        if (assembly === undefined) return
        const segment = await assembly.seal(signal)
        this.#waiting.shift()
        this.#onSealed(segment, assembly.pages)
      }
    } catch (error) {
      this.#failure = { error }
    } finally {
      this.#running = undefined
    }
  }
}
