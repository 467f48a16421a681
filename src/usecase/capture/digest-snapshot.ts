import { digestBytes, type DigestPage } from '../../domain/pages/segment-pages.js'
import { type WalPosition } from '../../domain/wal/position.js'
import { type SnapshotDigests } from '../backlog/generation-feed.js'
import { type PageMapBody } from '../ports/page-map-store.js'

/** Digests that are written at once. */
const digestsAtOnce = 4096

interface DigestSnapshotOptions {
  readonly pageSizeBytes: number
  readonly digestPage: DigestPage
  /** Undefined: no map is kept any more. */
  readonly start: () => Promise<PageMapBody | undefined>
  readonly keep: (body: PageMapBody, upTo: WalPosition) => Promise<void>
  readonly ended: () => void
}

/** Digests the pages of a snapshot while it is read. What fails here is not the snapshot's trouble: the next one is digested. */
export class DigestSnapshot implements SnapshotDigests {
  readonly #options: DigestSnapshotOptions
  #body: PageMapBody | undefined
  readonly #pending = new Uint8Array(digestsAtOnce * digestBytes)
  #pendingBytes = 0
  #isBegun = false
  #isAtEnd = false
  #hasFailed = false

  constructor(options: DigestSnapshotOptions) {
    this.#options = options
  }

  async add(piece: Uint8Array): Promise<void> {
    await this.#orFail(async () => {
      const { pageSizeBytes, digestPage } = this.#options
      if (this.#isAtEnd) throw new Error('the file was read in pieces that do not end with a page')
      this.#isAtEnd = piece.length % pageSizeBytes > 0
      for (let at = 0; at + pageSizeBytes <= piece.length; at += pageSizeBytes) {
        if (this.#pendingBytes === this.#pending.length) await this.#flush()
        this.#pending.set(digestPage(piece.subarray(at, at + pageSizeBytes)), this.#pendingBytes)
        this.#pendingBytes += digestBytes
      }
    })
  }

  async keep(upTo: WalPosition): Promise<void> {
    await this.#orFail(async () => {
      await this.#flush()
      if (this.#body !== undefined) await this.#options.keep(this.#body, upTo)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#body?.[Symbol.asyncDispose]()
    } catch {
      // A file that stays is removed at the next start.
    }
    this.#options.ended()
  }

  async #flush(): Promise<void> {
    if (!this.#isBegun) this.#body = await this.#options.start()
    this.#isBegun = true
    const digests = this.#pending.slice(0, this.#pendingBytes)
    this.#pendingBytes = 0
    await this.#body?.add(digests)
  }

  async #orFail(work: () => Promise<void>): Promise<void> {
    if (this.#hasFailed) return
    try {
      await work()
    } catch {
      this.#hasFailed = true
    }
  }
}
