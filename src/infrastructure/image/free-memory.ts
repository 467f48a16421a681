/**
 * Gives memory back now. The garbage collector would leave some hundred MB of blocks lying about before it looks, and
 * fresh memory costs a page fault every 4 KiB, where memory that has just been freed costs nothing.
 */
export function freeMemory(bytes: Uint8Array): void {
  const { buffer } = bytes
  if (buffer instanceof ArrayBuffer && !buffer.detached) buffer.transfer(0)
}
