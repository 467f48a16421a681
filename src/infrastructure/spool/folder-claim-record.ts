/** What is remembered of the claims on a replica, as a small file beside the spool: `owner-<name of the replica>.json`. */
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type RememberedClaims } from '../../domain/replica-owner.js'
import { type ClaimRecord } from '../../usecase/ports/claim-record.js'
import {
  createFolder,
  errorCode,
  orLocalStateError,
  type Ownership,
  replaceFile,
} from './local-files.js'

export class FolderClaimRecord implements ClaimRecord {
  readonly #path: string
  readonly #owner: Ownership

  constructor(options: { path: string; replica: string } & Ownership) {
    this.#path = join(options.path, `owner-${encodeURIComponent(options.replica)}.json`)
    this.#owner = options
  }

  async load(signal: AbortSignal): Promise<RememberedClaims | undefined> {
    signal.throwIfAborted()
    return orLocalStateError(`read ${this.#path}`, async () => {
      try {
        return parseClaims(await readFile(this.#path, 'utf8'))
      } catch (error) {
        if (errorCode(error) === 'ENOENT') return undefined
        throw error
      }
    })
  }

  async save({ instance, tokens }: RememberedClaims, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await orLocalStateError(`write ${this.#path}`, async () => {
      await createFolder(dirname(this.#path), this.#owner)
      const text = `${JSON.stringify({ version: 1, instance, tokens })}\n`
      await replaceFile(this.#path, new TextEncoder().encode(text), this.#owner)
    })
  }
}

/** What cannot be read is nothing: the claim is then somebody else's, which costs a generation. */
function parseClaims(text: string): RememberedClaims | undefined {
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof content !== 'object' || content === null) return undefined
  const { instance, tokens } = content as Readonly<Record<string, unknown>>
  if (typeof instance !== 'string' || !Array.isArray(tokens)) return undefined
  return { instance, tokens: tokens.filter((token) => typeof token === 'string') }
}
