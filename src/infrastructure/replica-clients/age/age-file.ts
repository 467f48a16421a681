/**
 * The age v1 file format (age-encryption.org/v1): a text header that wraps the file's key for each recipient and ends in
 * a line `--- <mac>`, 16 bytes of nonce, then the payload in chunks of 64 KiB, each with a tag of 16 bytes under a nonce
 * of its number and a flag that only the last one has. The header is the library's; the payload's chunks are opened and
 * sealed one by one here, so that a part of an object can be read without the rest.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import { type Decrypter, Encrypter } from 'age-encryption'

export const chunkBytes = 64 * 1024
const tagBytes = 16
export const sealedChunkBytes = chunkBytes + tagBytes
const nonceBytes = 16
const cipher = 'chacha20-poly1305'

/** What it takes to read a file's payload. */
export interface OpenedHeader {
  readonly key: Uint8Array
  /** Of everything in front of the payload. */
  readonly headBytes: number
}

/**
 * A new file for these recipients: its head, and the key of its payload. A mark decides on the nonce, which stands in the
 * head for everybody to see: the key of a file is its own in any case, and no nonce has to be random beside it.
 */
export async function newFile(
  recipients: readonly string[],
  mark?: string,
): Promise<{ readonly head: Uint8Array; readonly key: Uint8Array }> {
  const encrypter = new Encrypter()
  for (const recipient of recipients) encrypter.addRecipient(recipient)
  let fileKey: Uint8Array | undefined
  // Takes part as a recipient without a stanza, which is how the library gives the key away.
  encrypter.addRecipient({
    wrapFileKey: (key) => {
      fileKey = key.slice()
      return []
    },
  })
  const empty = await encrypter.encrypt(new Uint8Array(0))
  if (fileKey === undefined) throw new Error('age made a file without asking for its key')
  const header = empty.subarray(0, empty.length - nonceBytes - tagBytes)
  const nonce = mark === undefined ? randomBytes(nonceBytes) : nonceOf(mark)
  return { head: Buffer.concat([header, nonce]), key: payloadKey(fileKey, nonce) }
}

/** Whether a head of that length belongs to a file with this mark. */
export function hasMark(head: Uint8Array, headBytes: number, mark: string): boolean {
  return nonceOf(mark).equals(head.subarray(headBytes - nonceBytes, headBytes))
}

function nonceOf(mark: string): Buffer {
  return createHash('sha256').update(mark).digest().subarray(0, nonceBytes)
}

/** Bytes of a file's head, for which no key is needed. `longer`: it does not end within these bytes. */
export function headLength(bytes: Uint8Array): number | 'longer' | 'not age' {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  const magic = 'age-encryption.org/v1\n'
  if (!text.startsWith(magic.slice(0, text.length))) return 'not age'
  const mac = text.indexOf('\n---')
  const end = mac < 0 ? -1 : text.indexOf('\n', mac + 1)
  if (end < 0 || bytes.length < end + 1 + nonceBytes) return 'longer'
  return end + 1 + nonceBytes
}

/** Opens a head of that length. Throws when no identity is one of its recipients'. */
export async function openHead(
  bytes: Uint8Array,
  headBytes: number,
  decrypter: Decrypter,
): Promise<OpenedHeader> {
  const headerBytes = headBytes - nonceBytes
  const fileKey = await decrypter.decryptHeader(bytes.slice(0, headerBytes))
  return { key: payloadKey(fileKey, bytes.subarray(headerBytes, headBytes)), headBytes }
}

function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', fileKey, nonce, 'payload', 32))
}

function chunkNonce({ number, last }: { number: number; last: boolean }): Uint8Array {
  const nonce = new Uint8Array(12)
  // Eleven bytes of counter, of which the lower eight are more than any object needs.
  new DataView(nonce.buffer).setBigUint64(3, BigInt(number))
  nonce[11] = last ? 1 : 0
  return nonce
}

/** Seals at most {@link chunkBytes}. */
export function sealChunk(
  key: Uint8Array,
  bytes: Uint8Array,
  place: { readonly number: number; readonly last: boolean },
): Uint8Array[] {
  const sealing = createCipheriv(cipher, key, chunkNonce(place), { authTagLength: tagBytes })
  const sealed = sealing.update(bytes)
  sealing.final()
  return [sealed, sealing.getAuthTag()]
}

/** Opens a sealed chunk; undefined: it is damaged, or not at this place. */
export function openChunk(
  key: Uint8Array,
  sealed: Uint8Array,
  place: { readonly number: number; readonly last: boolean },
): Uint8Array | undefined {
  if (sealed.length < tagBytes) return undefined
  const opening = createDecipheriv(cipher, key, chunkNonce(place), { authTagLength: tagBytes })
  opening.setAuthTag(sealed.subarray(sealed.length - tagBytes))
  const bytes = opening.update(sealed.subarray(0, sealed.length - tagBytes))
  try {
    opening.final()
  } catch {
    return undefined
  }
  return bytes
}

/** Bytes of the payload within that many stored ones. */
export function contentBytes(payloadBytes: number): number {
  const chunks = Math.ceil(payloadBytes / sealedChunkBytes)
  return Math.max(0, payloadBytes - chunks * tagBytes)
}

/** Bytes of the payload that so many bytes become: even of none there is a chunk. */
export function payloadBytes(contentBytes: number): number {
  return contentBytes + Math.max(1, Math.ceil(contentBytes / chunkBytes)) * tagBytes
}
