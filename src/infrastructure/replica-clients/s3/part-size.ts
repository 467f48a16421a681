/** Sizes of the parts of a multipart upload. */

const mebibyte = 1024 * 1024
/** No store takes more parts than this, nor (but for the last) smaller or larger ones. */
const maxPartCount = 10_000
const minPartBytes = 5 * mebibyte
const maxPartBytes = 5 * 1024 * mebibyte
/** Small enough to be sent again cheaply, large enough that the round trip of a request does not count. */
const usualPartBytes = 8 * mebibyte
/** What the parts in flight of one upload may take of our memory. */
const maxBytesInFlight = 256 * mebibyte

/**
 * The size of all parts of an upload, which cannot change once it has begun. Leaves room for a body that is larger than
 * was expected.
 */
export function choosePartSize(options: {
  readonly expectedBytes: number
  /** What the operator wants; larger parts are taken where it would not do. */
  readonly configuredBytes: number | undefined
}): number {
  const roomBytes = options.expectedBytes * 1.1 + 64 * mebibyte
  const neededBytes = Math.ceil(roomBytes / maxPartCount / mebibyte) * mebibyte
  const wantedBytes = options.configuredBytes ?? usualPartBytes
  return Math.min(maxPartBytes, Math.max(minPartBytes, wantedBytes, neededBytes))
}

/** How many parts of that size are in flight at most. */
export function choosePartConcurrency(options: {
  readonly partSizeBytes: number
  readonly wanted: number
}): number {
  const fitting = Math.floor(maxBytesInFlight / options.partSizeBytes)
  return Math.max(1, Math.min(options.wanted, fitting))
}
