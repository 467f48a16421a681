import { greatestLz4Ratio } from '../../src/domain/stored/lz4-ratio.ts'
import { formatTrailer, type Trailer } from '../../src/domain/stored/trailer.ts'

/** An object that ends with a trailer, whose other bytes, which are nothing, could hold what the trailer says. */
export function objectOf(trailer: Trailer): Uint8Array {
  const contentBytes =
    trailer.kind === 'snapshot'
      ? trailer.pageCount * trailer.pageSizeBytes
      : trailer.endOffset - trailer.startOffset
  const body = new Uint8Array(Math.ceil(contentBytes / greatestLz4Ratio))
  return Buffer.concat([body, formatTrailer(trailer)])
}
