/**
 * Encrypts what goes into a replica, and decrypts what comes out of it: an object is one binary age file around all that
 * it would be without. Names and sizes stay visible. Without identities objects are read as they are stored.
 */
import { Decrypter } from 'age-encryption'
import { CorruptionError, ReplicaError } from '../../../domain/errors.js'
import { formatObjectPath, type ObjectRef } from '../../../domain/stored/replica-layout.js'
import { messageOf } from '../../../kit/error-text.js'
import { NewestEntries } from '../../../kit/newest-entries.js'
import {
  type ByteRange,
  type ObjectUpload,
  type ReplicaClient,
  type UploadOptions,
} from '../../../usecase/ports/replica-client.js'
import { around } from '../around/around-client.js'
import {
  chunkBytes,
  contentBytes,
  hasMark,
  headLength,
  newFile,
  openChunk,
  openHead,
  type OpenedHeader,
  sealedChunkBytes,
} from './age-file.js'
import { AgeUpload } from './age-upload.js'

/** A head for one recipient has 200 bytes; one for a hundred fits, too. */
const firstHeadBytes = 512
const maxHeadBytes = 64 * 1024
/** Heads remembered: large objects are read by several requests. */
const maxHeadCount = 1024

/** Keys as `parseRecipients` and `parseIdentities` give them. Without recipients objects are written as they are. */
export function encryptObjects(client: ReplicaClient, keys: AgeKeyTexts): ReplicaClient {
  const objects = new EncryptedObjects(client, keys)
  return {
    // The owner object stays plain, for whoever has no identity has to read it, too. It says nothing of the database.
    ...around(client),
    isEncrypted: true,
    startUpload: (ref, options, signal) => objects.startUpload(ref, options, signal),
    read: (ref, range, signal) => objects.read(ref, range, signal),
    contentBytes: (object, signal) => objects.contentBytes(object, signal),
    isMarked: (object, signal) => objects.isMarked(object, signal),
    delete: (refs, signal) => objects.delete(refs, signal),
  }
}

interface AgeKeyTexts {
  readonly recipients: readonly string[]
  readonly identities: readonly string[]
}

class EncryptedObjects {
  readonly #client: ReplicaClient
  readonly #recipients: readonly string[]
  readonly #decrypter: Decrypter | undefined
  readonly #heads = new NewestEntries<string, OpenedHeader>(maxHeadCount)

  constructor(client: ReplicaClient, keys: AgeKeyTexts) {
    this.#client = client
    this.#recipients = keys.recipients
    if (keys.identities.length > 0) {
      this.#decrypter = new Decrypter()
      for (const identity of keys.identities) this.#decrypter.addIdentity(identity)
    }
  }

  async startUpload(
    ref: ObjectRef,
    options: UploadOptions,
    signal: AbortSignal,
  ): Promise<ObjectUpload> {
    this.#heads.delete(formatObjectPath(ref))
    if (this.#recipients.length === 0) return this.#client.startUpload(ref, options, signal)
    // A file that is offered is not encrypted.
    const { expectedBytes, isNew = false, mark } = options
    const inner = await this.#client.startUpload(ref, { expectedBytes, isNew }, signal)
    try {
      return new AgeUpload(inner, await newFile(this.#recipients, mark))
    } catch (error) {
      await inner[Symbol.asyncDispose]()
      throw error
    }
  }

  async *read(ref: ObjectRef, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    if (this.#decrypter === undefined) {
      yield* this.#client.read(ref, range, signal)
      return
    }
    if (range.length === 0) return
    const { key, headBytes } = await this.#head(ref, signal)
    const end = range.length === undefined ? Infinity : range.offset + range.length
    const firstChunk = Math.floor(range.offset / chunkBytes)
    const chunkCount = Math.ceil(end / chunkBytes) - firstChunk
    const stored: ByteRange = {
      offset: headBytes + firstChunk * sealedChunkBytes,
      length: chunkCount === Infinity ? undefined : chunkCount * sealedChunkBytes,
    }
    let number = firstChunk
    let ended = false
    for await (const { sealed, isEnd } of chunksOf(this.#client.read(ref, stored, signal))) {
      // Whether the chunk that ends a range is the object's last, its flag alone tells.
      const mayGoOn = !isEnd || (stored.length !== undefined && sealed.length === sealedChunkBytes)
      let bytes = mayGoOn ? openChunk(key, sealed, { number, last: false }) : undefined
      if (bytes === undefined && isEnd) bytes = openChunk(key, sealed, { number, last: true })
      if (bytes === undefined) {
        this.#heads.delete(formatObjectPath(ref))
        throw new CorruptionError(
          `${this.#nameOf(ref)} is damaged or cut short: its encrypted chunk ${number} cannot be opened`,
        )
      }
      const from = number * chunkBytes
      ended = true
      const wanted = bytes.subarray(Math.max(0, range.offset - from), Math.max(0, end - from))
      // A chunk that was opened has memory of its own.
      if (wanted.length > 0) yield wanted
      number += 1
    }
    if (!ended && range.offset === 0) {
      throw new CorruptionError(`${this.#nameOf(ref)} is cut short: nothing follows its age header`)
    }
  }

  /** Needs no identity: how long the head is, it says itself. */
  async contentBytes(
    object: { readonly ref: ObjectRef; readonly sizeBytes: number },
    signal: AbortSignal,
  ): Promise<number> {
    if (this.#decrypter === undefined && this.#recipients.length === 0) return object.sizeBytes
    const known = this.#heads.get(formatObjectPath(object.ref))
    const { headBytes } = known ?? (await this.#readHead(object.ref, signal))
    return contentBytes(object.sizeBytes - headBytes)
  }

  /** Needs no identity, either. */
  async isMarked(
    { ref, mark }: { readonly ref: ObjectRef; readonly mark: string },
    signal: AbortSignal,
  ): Promise<boolean> {
    const { bytes, headBytes } = await this.#readHead(ref, signal)
    return hasMark(bytes, headBytes, mark)
  }

  delete(refs: readonly ObjectRef[], signal: AbortSignal): Promise<void> {
    for (const ref of refs) this.#heads.delete(formatObjectPath(ref))
    return this.#client.delete(refs, signal)
  }

  async #head(ref: ObjectRef, signal: AbortSignal): Promise<OpenedHeader> {
    const path = formatObjectPath(ref)
    const known = this.#heads.get(path)
    if (known !== undefined) return known
    const { bytes, headBytes } = await this.#readHead(ref, signal)
    try {
      const head = await openHead(bytes, headBytes, this.#decrypter ?? new Decrypter())
      this.#heads.set(path, head)
      return head
    } catch (error) {
      const said = messageOf(error)
      throw new ReplicaError(`cannot decrypt ${this.#nameOf(ref)}: ${said}`, {
        retryable: false,
        hint: 'add the identity that belongs to one of the recipients it was encrypted for to age.identities',
      })
    }
  }

  async #readHead(
    ref: ObjectRef,
    signal: AbortSignal,
  ): Promise<{ readonly bytes: Uint8Array; readonly headBytes: number }> {
    for (let length = firstHeadBytes; length <= maxHeadBytes; length *= 4) {
      const parts: Uint8Array[] = []
      for await (const chunk of this.#client.read(ref, { offset: 0, length }, signal)) {
        parts.push(chunk)
      }
      const bytes = Buffer.concat(parts)
      const headBytes = headLength(bytes)
      if (headBytes === 'not age') {
        throw new ReplicaError(
          `cannot decrypt ${this.#nameOf(ref)}: it is not encrypted with age`,
          {
            retryable: false,
            hint: 'the objects of a replica are all encrypted or all plain: leave age out to read plain ones',
          },
        )
      }
      if (headBytes !== 'longer') return { bytes, headBytes }
      if (bytes.length < length) break
    }
    throw new CorruptionError(`${this.#nameOf(ref)} is cut short: its age header has no end`)
  }

  #nameOf(ref: ObjectRef): string {
    return `${formatObjectPath(ref)} on ${this.#client.location}`
  }
}

/** Cuts stored bytes into sealed chunks; the last one is told once nothing follows. */
async function* chunksOf(
  stored: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ readonly sealed: Uint8Array; readonly isEnd: boolean }> {
  let pending: Uint8Array[] = []
  let pendingBytes = 0
  for await (const part of stored) {
    pending.push(part)
    pendingBytes += part.length
    if (pendingBytes <= sealedChunkBytes) continue
    const all = Buffer.concat(pending)
    let at = 0
    for (; all.length - at > sealedChunkBytes; at += sealedChunkBytes) {
      yield { sealed: all.subarray(at, at + sealedChunkBytes), isEnd: false }
    }
    pending = [all.subarray(at)]
    pendingBytes = all.length - at
  }
  if (pendingBytes > 0) yield { sealed: Buffer.concat(pending), isEnd: true }
}
