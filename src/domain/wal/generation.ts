/** A generation is one unbroken history of a database, named by 16 lower-case hex digits. */
export type Generation = string & { readonly __generation: never }

/** Whether `text` is a generation's name: 16 characters, all of them `0-9a-f`. */
export function isGeneration(text: string): text is Generation {
  return /^[0-9a-f]{16}$/.test(text)
}

/** The generation named `text`, or undefined if it is no such name. */
export function parseGeneration(text: string): Generation | undefined {
  return isGeneration(text) ? text : undefined
}

/** Names a generation by 8 random bytes. */
export function formatGeneration(randomBytes: Uint8Array): Generation {
  const text = Array.from(randomBytes.subarray(0, 8), (byte) =>
    byte.toString(16).padStart(2, '0'),
  ).join('')
  if (!isGeneration(text)) throw new RangeError('a generation is named by 8 bytes')
  return text
}
