import { type WalSegmentTrailer } from '../../domain/stored/trailer.js'
import { type Compressor, maxBlockBytes } from '../ports/compressor.js'
import { type Spool, type SpooledSegment } from '../ports/spool.js'

/** Frames in one merged object. */
const maxMergedWalBytes = 64 * 1024 * 1024

/** The consecutive segments of one index, from `first` on, that may become one object. */
export function planMerge(
  segments: readonly SpooledSegment[],
  first: SpooledSegment,
): readonly SpooledSegment[] {
  const parts: SpooledSegment[] = []
  let walBytes = 0
  for (const segment of segments.slice(segments.indexOf(first))) {
    if (segment.index !== first.index) break
    walBytes += segment.walBytes
    if (walBytes > maxMergedWalBytes) break
    parts.push(segment)
  }
  return parts
}

/** The trailer of consecutive segments put into one. */
function mergeTrailers(trailers: readonly WalSegmentTrailer[]): WalSegmentTrailer {
  const first = trailers[0]
  const last = trailers.at(-1)
  if (first === undefined || last === undefined) throw new RangeError('nothing to merge')
  return {
    ...last,
    startOffset: first.startOffset,
    checksumBefore: first.checksumBefore,
    previousIndexEnd: first.previousIndexEnd,
    captures: trailers.flatMap((trailer) => trailer.captures),
  }
}

/** Rewrites consecutive segments as one LZ4 frame in the spool, which takes their place. */
export async function mergeSegments(
  options: {
    readonly parts: readonly SpooledSegment[]
    readonly spool: Spool
    readonly compressor: Compressor
    readonly decode: (source: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>
  },
  signal: AbortSignal,
): Promise<SpooledSegment> {
  const { parts, spool, compressor, decode } = options
  const first = parts[0]
  if (first === undefined) throw new RangeError('nothing to merge')
  await using writer = await spool.startSegment(
    { index: first.index, offset: first.startOffset },
    signal,
  )
  const encoder = compressor.startFrame()
  await writer.write(encoder.header())
  for (const part of parts) {
    for await (const chunk of decode(spool.read(part, signal))) {
      for (let at = 0; at < chunk.length; at += maxBlockBytes) {
        await writer.write(encoder.block(chunk.subarray(at, at + maxBlockBytes)))
      }
    }
  }
  await writer.write(encoder.end())
  const trailer = mergeTrailers(parts.map((part) => part.trailer))
  return await spool.replace({ parts, writer, trailer }, signal)
}
