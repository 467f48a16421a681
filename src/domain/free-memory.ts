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
