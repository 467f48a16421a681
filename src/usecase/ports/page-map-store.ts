/**
 * The port to the files of a page map, which lie beside the spool and go with their generation. Whatever is wrong with
 * them is an error, or no map: what they say has passed its checks. One call at a time.
 */
import { type ChainPlace, type PageRecord } from '../../domain/pages/page-map.js'
import { type Generation } from '../../domain/wal/generation.js'

export interface OfPageMap {
  readonly generation: Generation
  readonly pageSizeBytes: number
}

export interface OpenedPageMap {
  readonly end: ChainPlace
  /** Whether a snapshot was read whole. */
  readonly isWhole: boolean
}

/** Digests of a snapshot's pages, on their way under those of frames. Disposed without being kept, nothing of it stays. */
export interface PageMapBody extends AsyncDisposable {
  /** Of the pages that follow. */
  add(digests: Uint8Array): Promise<void>
  /** All that was committed until the last page was read is in the map. */
  keep(): Promise<void>
}

export interface PageMapReader extends AsyncDisposable {
  readonly sizePages: number
  /** Of pages from `first` on, page by page; zeros where it is not known. */
  read(first: number, count: number): Promise<Uint8Array>
}

export interface PageMapStore {
  /** Begins an empty map at a place of a generation, in the place of the one that is there. */
  begin(of: OfPageMap, at: ChainPlace): Promise<void>
  /** What there is; undefined: no map of this generation, or none that is whole. */
  open(of: OfPageMap): Promise<OpenedPageMap | undefined>
  /** Adds what a segment changes that goes on from the map's end. */
  append(record: PageRecord): Promise<void>
  startBody(): Promise<PageMapBody>
  /** Reads it as it is now, up to the next change. */
  openReader(): Promise<PageMapReader>
  /** Gives it up. */
  remove(of: OfPageMap): Promise<void>
}
