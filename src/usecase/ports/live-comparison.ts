/** The port to a database that is compared, page by page, with an image restored from its replica. */
import { type Checksum, type Salts } from '../../domain/wal/wal-format.js'

/** Where the restored commit ends in the database's own WAL. */
export interface WalEnd {
  readonly salts: Salts
  readonly endOffset: number
  readonly checksum: Checksum
}

export interface ComparisonRequest {
  /** The live database; its WAL is beside it. */
  readonly databasePath: string
  readonly imagePath: string
  /** Undefined: the restored commit is in no WAL that is known. */
  readonly end: WalEnd | undefined
}

export interface ComparisonResult {
  readonly pageCount: number
  /** Pages that were compared, byte by byte. The others have been changed since by commits that are in the WAL now. */
  readonly comparedCount: number
  /** Pages that differ, at most the first million of them. */
  readonly differing: readonly number[]
  /**
   * Whether the live WAL still holds the restored commit: then nothing explains a page that differs. Else it may have been
   * changed since by commits that are in the WAL no more.
   */
  readonly atSameCommit: boolean
}

export interface LiveComparison {
  /**
   * Compares, without a lock on the database: no reader is held, so that the application is never kept waiting. Undefined
   * if there is no database.
   */
  compare(request: ComparisonRequest, signal: AbortSignal): Promise<ComparisonResult | undefined>
}
