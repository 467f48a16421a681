/** How the owner of a chunk takes its memory back once the next one is asked for: freed, or used for something else. */
export type TakeBack = 'freed' | 'used again'

/**
 * The bytes, cut at these places, as a source that lends its chunks: each is good until the next is asked for, as with
 * the body of an object in a thread of a restore.
 */
// eslint-disable-next-line @typescript-eslint/require-await -- a source of chunks is asynchronous
export async function* lentPieces(
  bytes: Uint8Array,
  cuts: readonly number[],
  takeBack: TakeBack = 'freed',
): AsyncGenerator<Uint8Array> {
  let from = 0
  for (const to of [...cuts, bytes.length]) {
    const piece = new Uint8Array(bytes.subarray(from, to))
    from = to
    try {
      yield piece
    } finally {
      if (takeBack === 'used again') piece.fill(0xa5)
      else piece.buffer.transfer(0)
    }
  }
}

/** Where bytes of this length are cut into pieces of one size. */
export function everyBytes(lengthBytes: number, pieceBytes: number): number[] {
  const cuts = []
  for (let at = pieceBytes; at < lengthBytes; at += pieceBytes) cuts.push(at)
  return cuts
}
