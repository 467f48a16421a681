/**
 * An object on its way. A body of one part is sent whole at the end. A larger one goes through a session of the store:
 * parts one after another, and the last of them, which makes the object, at the end.
 *
 * A part of which no answer came is sent again from its beginning: the store passes over bytes that it has.
 */
import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import { type IncomingMessage } from 'node:http'
import { ObjectExistsError, ReplicaError } from '../../../domain/errors.js'
import { type ObjectPart, type ObjectUpload } from '../../../usecase/ports/replica-client.js'
import { type Attempt, field } from '../object-store/refused-request.js'
import { type GcsConnection } from './gcs-connection.js'
import { parseJson } from './gcs-errors.js'
import { readText } from './gcs-http.js'
import { assertPart, UploadRequests } from '../object-store/upload-requests.js'

/** Tells the object of this upload from another of its name. */
const uploadIdMetadata = 'tsreplicate-upload'
/** How long giving an upload up may take; an upload that is left ends by itself after a week, unseen. */
const giveUpTimeoutMs = 10_000

/** What the store says of bytes that were sent to a session. */
type SessionAnswer =
  | { readonly kind: 'more'; readonly storedBytes: number }
  | { readonly kind: 'done'; readonly object: StoredObject }
  | { readonly kind: 'unknown session' }

interface StoredObject {
  readonly sizeBytes: number
  readonly generation: string | undefined
}

export interface GcsUploadOptions {
  readonly connection: GcsConnection
  readonly name: string
  readonly storageClass: string | undefined
  readonly partSizeBytes: number
  readonly isNew: boolean
  readonly onStored: () => void
}

export class GcsUpload implements ObjectUpload {
  readonly partSizeBytes: number
  /** The store takes the bytes of an object in their order. */
  readonly maxConcurrentParts = 1
  readonly isWhole = false
  readonly #metadata: Readonly<Record<string, unknown>>
  readonly #id = randomUUID()
  readonly #requests: UploadRequests
  readonly #options: GcsUploadOptions
  readonly #connection: GcsConnection
  readonly #name: string
  #session: URL | undefined
  #sentParts = 0
  /** Bytes that the store has confirmed. */
  #storedBytes = 0
  #lastPart: Uint8Array | undefined
  #finished = false

  constructor(options: GcsUploadOptions, signal: AbortSignal) {
    this.#options = options
    this.#connection = options.connection
    this.#name = options.name
    this.partSizeBytes = options.partSizeBytes
    this.#metadata = {
      name: options.name,
      contentType: 'application/octet-stream',
      metadata: { [uploadIdMetadata]: this.#id },
      ...(options.storageClass === undefined ? {} : { storageClass: options.storageClass }),
    }
    this.#requests = new UploadRequests(signal)
  }

  storedBytes(contentBytes: number): number {
    return contentBytes
  }

  async sendPart(part: ObjectPart): Promise<void> {
    const { number, bytes, last } = part
    this.#requests.signal.throwIfAborted()
    assertPart(part, this.partSizeBytes)
    if (number < this.#sentParts) return
    assert(number === this.#sentParts, 'parts are sent in their order')
    if (last) {
      this.#lastPart = bytes
      return
    }
    await this.#requests.track(this.#sendChunk(number, bytes))
    this.#sentParts = number + 1
  }

  async finish(): Promise<void> {
    this.#requests.signal.throwIfAborted()
    if (this.#finished) return
    const last = this.#lastPart
    assert(last !== undefined, 'finished before the last part')
    await this.#requests.track(this.#sentParts === 0 ? this.#sendWhole(last) : this.#sendLast(last))
    this.#finished = true
    this.#lastPart = undefined
    this.#options.onStored()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#requests.giveUp()
    const session = this.#session
    this.#session = undefined
    if (session === undefined || this.#finished) return
    const cancel = this.#connection.attempt(
      this.#attempt('give up'),
      { method: 'DELETE', url: session },
      {
        signal: AbortSignal.timeout(giveUpTimeoutMs),
        take: readText,
        // The answer of a session that has ended is a failure by its status (499).
        expected: ({ status }) => (status === undefined ? undefined : 'ended'),
      },
    )
    // What could not be ended now shows nothing, and ends by itself.
    await cancel.catch(() => undefined)
  }

  async #sendChunk(number: number, bytes: Uint8Array): Promise<void> {
    const attempt = this.#attempt(`send part ${number + 1} of`)
    const session = (this.#session ??= await this.#begin())
    const startBytes = number * this.partSizeBytes
    const endBytes = startBytes + bytes.byteLength
    // As a rule once: the store may take less than it was sent.
    while (this.#storedBytes < endBytes) {
      const rest = bytes.subarray(this.#storedBytes - startBytes)
      const range = `bytes ${this.#storedBytes}-${endBytes - 1}/*`
      const answer = await this.#put(attempt, { session, bytes: rest, range })
      if (answer.kind !== 'more') throw sessionLost(attempt)
      this.#advance(attempt, answer.storedBytes, endBytes)
    }
  }

  async #sendLast(bytes: Uint8Array): Promise<void> {
    const attempt = this.#attempt('finish')
    const session = this.#session
    assert(session !== undefined)
    const startBytes = this.#sentParts * this.partSizeBytes
    const totalBytes = startBytes + bytes.byteLength
    for (;;) {
      const rest = bytes.subarray(this.#storedBytes - startBytes)
      const span = rest.byteLength === 0 ? '*' : `${this.#storedBytes}-${totalBytes - 1}`
      const range = `bytes ${span}/${totalBytes}`
      const answer = await this.#put(attempt, { session, bytes: rest, range })
      if (answer.kind === 'more') {
        this.#advance(attempt, answer.storedBytes, totalBytes)
        continue
      }
      if (answer.kind === 'done') return this.#checkSize(attempt, answer.object, totalBytes)
      // A finish whose answer was lost ends the session, too.
      const stored = await this.#findOwn()
      if (stored === undefined) throw sessionLost(attempt)
      return this.#checkSize(attempt, stored, totalBytes)
    }
  }

  #advance(attempt: Attempt, storedBytes: number, endBytes: number): void {
    if (storedBytes <= this.#storedBytes || storedBytes > endBytes) {
      throw new ReplicaError(
        `cannot ${attempt.action}: the store has ${storedBytes} bytes of it, and ${endBytes} were sent`,
      )
    }
    this.#storedBytes = storedBytes
  }

  /** An object that is not what was sent must not stay, for a restore would meet it. */
  async #checkSize(attempt: Attempt, object: StoredObject, sizeBytes: number): Promise<void> {
    if (object.sizeBytes === sizeBytes) return
    const { generation } = object
    await this.#connection.attempt(
      {
        action: `delete ${this.#connection.urlOf(this.#name)}`,
        permission: 'storage.objects.delete',
      },
      {
        method: 'DELETE',
        url: this.#connection.objectUrl(this.#name, generation === undefined ? {} : { generation }),
      },
      {
        signal: this.#requests.signal,
        take: readText,
        expected: ({ status }) => (status === 404 ? 'absent' : undefined),
      },
    )
    throw new ReplicaError(
      `cannot ${attempt.action}: the store made ${object.sizeBytes} bytes of the ${sizeBytes} that were sent`,
      { retryable: false },
    )
  }

  async #begin(): Promise<URL> {
    const attempt = this.#attempt('begin')
    const location = await this.#connection.attempt(
      attempt,
      {
        method: 'POST',
        url: this.#connection.uploadUrl({
          uploadType: 'resumable',
          name: this.#name,
        }),
        headers: { 'content-type': 'application/json; charset=UTF-8' },
        body: [Buffer.from(JSON.stringify(this.#metadata))],
      },
      {
        signal: this.#requests.signal,
        take: async (answer) => {
          await readText(answer)
          return answer.headers.location
        },
      },
    )
    if (location === undefined || !URL.canParse(location)) {
      throw new ReplicaError(`cannot ${attempt.action}: the answer does not say where to send it`)
    }
    return new URL(location)
  }

  #put(
    attempt: Attempt,
    chunk: { readonly session: URL; readonly bytes: Uint8Array; readonly range: string },
  ): Promise<SessionAnswer> {
    return this.#connection.attempt<SessionAnswer, SessionAnswer>(
      attempt,
      {
        method: 'PUT',
        url: chunk.session,
        headers: { 'content-range': chunk.range },
        body: [chunk.bytes],
      },
      {
        signal: this.#requests.signal,
        take: async (answer) => {
          const text = await readText(answer)
          return answer.statusCode === 308
            ? { kind: 'more', storedBytes: storedBytesOf(answer) }
            : { kind: 'done', object: parseObject(text) }
        },
        expected: ({ status }) =>
          status === 404 || status === 410 ? { kind: 'unknown session' } : undefined,
      },
    )
  }

  async #sendWhole(bytes: Uint8Array): Promise<void> {
    const boundary = `tsreplicate-${this.#id}`
    const md5Hash = createHash('md5').update(bytes).digest('base64')
    const head = [
      `--${boundary}`,
      'content-type: application/json; charset=UTF-8',
      '',
      JSON.stringify({ ...this.#metadata, md5Hash }),
      `--${boundary}`,
      'content-type: application/octet-stream',
      '',
      '',
    ].join('\r\n')
    const attempt = this.#attempt('write')
    const answer = await this.#connection.attempt(
      attempt,
      {
        method: 'POST',
        url: this.#connection.uploadUrl({
          uploadType: 'multipart',
          name: this.#name,
          ...(this.#options.isNew ? { ifGenerationMatch: '0' } : {}),
        }),
        headers: { 'content-type': `multipart/related; boundary=${boundary}` },
        body: [Buffer.from(head), bytes, Buffer.from(`\r\n--${boundary}--\r\n`)],
      },
      {
        signal: this.#requests.signal,
        take: readText,
        expected: ({ status }) =>
          this.#options.isNew && status === 412 ? ('there already' as const) : undefined,
      },
    )
    if (answer === 'there already') {
      throw new ObjectExistsError(`cannot ${attempt.action}: it already exists`)
    }
  }

  /** The object of this very upload, if it is there. */
  async #findOwn(): Promise<StoredObject | undefined> {
    const text = await this.#connection.attempt(
      { ...this.#attempt('look for'), permission: 'storage.objects.get' },
      { method: 'GET', url: this.#connection.objectUrl(this.#name) },
      {
        signal: this.#requests.signal,
        take: readText,
        expected: ({ status }) => (status === 404 ? ('absent' as const) : undefined),
      },
    )
    const id = field(field(parseJson(text), 'metadata'), uploadIdMetadata)
    return id === this.#id ? parseObject(text) : undefined
  }

  #attempt(verb: string): Attempt {
    return {
      action: `${verb} ${this.#connection.urlOf(this.#name)}`,
      permission: 'storage.objects.create',
    }
  }
}

function sessionLost(attempt: Attempt): ReplicaError {
  return new ReplicaError(
    `cannot ${attempt.action}: the store no longer knows what was sent before`,
    { retryable: false },
  )
}

/** How many bytes the store has, by the header that names the first and last of them. */
function storedBytesOf(answer: IncomingMessage): number {
  const last = /^bytes=0-(\d+)$/.exec(answer.headers.range ?? '')?.[1]
  return last === undefined ? 0 : Number(last) + 1
}

function parseObject(text: string): StoredObject {
  const object = parseJson(text)
  const size = field(object, 'size')
  const generation = field(object, 'generation')
  if (typeof size !== 'string' || !/^\d+$/.test(size)) {
    throw Object.assign(new Error('the answer does not say what was stored'), { code: 'EANSWER' })
  }
  return {
    sizeBytes: Number(size),
    generation: typeof generation === 'string' ? generation : undefined,
  }
}
