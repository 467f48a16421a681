/**
 * Gives memory back now. The garbage collector would leave some hundred MB of blocks lying about before it looks, and
 * fresh memory costs a page fault every 4 KiB, where memory that has just been freed costs nothing.
 */
export function freeMemory(bytes: Uint8Array): void {
  const { buffer } = bytes
  // Memory that is shared with something else stays.
  const isOurs = bytes.byteLength === buffer.byteLength
  if (isOurs && buffer instanceof ArrayBuffer && !buffer.detached) buffer.transfer(0)
}

/** A copy in memory of its own. `slice` gives none of a Buffer, but a view: it goes when what it was cut from is freed. */
export function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes)
}
