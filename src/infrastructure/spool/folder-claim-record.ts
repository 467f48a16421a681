/** What is remembered of the claims on a replica: `owner-<name of the replica>.json`. */
import { type RememberedClaims } from '../../domain/stored/replica-owner.js'
import { type ClaimRecord } from '../../usecase/ports/claim-record.js'
import { JsonRecord, type JsonRecordOptions } from './json-record.js'

export class FolderClaimRecord implements ClaimRecord {
  readonly #record: JsonRecord

  constructor(options: JsonRecordOptions) {
    this.#record = new JsonRecord('owner', options)
  }

  /** What cannot be read is nothing: the claim is then somebody else's, which costs a generation. */
  async load(signal: AbortSignal): Promise<RememberedClaims | undefined> {
    signal.throwIfAborted()
    const { instance, tokens } = await this.#record.load()
    if (typeof instance !== 'string' || !Array.isArray(tokens)) return undefined
    return { instance, tokens: tokens.filter((token) => typeof token === 'string') }
  }

  async save({ instance, tokens }: RememberedClaims, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await this.#record.save({ instance, tokens })
  }
}
