/** The WAL of a moment: what SQLite says of it, beside the header that this is about. */
import { type WalState } from '../../usecase/ports/managed-database.js'
import { type HeldReaders } from './held-readers.js'
import { sameHeader, type WalFile } from './wal-file.js'
import { type WalReader } from './wal-reader.js'

/** How often a header is read again when it changes between two looks; a restart takes microseconds. */
const maxLooks = 1000

export interface SeenWal {
  /** Undefined: the file has none. */
  readonly header: Uint8Array | undefined
  readonly state: WalState
}

/** Header and state that belong together. `asker` is in no transaction. */
export function seeWal(wal: Pick<WalFile, 'header'>, asker: Pick<WalReader, 'state'>): SeenWal {
  for (let look = 0; look < maxLooks; look += 1) {
    const before = wal.header()
    const state = asker.state()
    const after = wal.header()
    if (sameHeader(before, after)) return { header: after, state }
  }
  throw new Error('the WAL header kept changing while it was read')
}

/**
 * A reader to capture a deleted file with, of which no connection can be made. `knownCount`: of its frames, at the last look.
 * Throws where the WAL may have been restarted, unread, since nothing kept it for a moment.
 */
export function takeLast(held: HeldReaders, wal: WalFile, knownCount: number): WalReader {
  wal.openDeleted()
  const before = wal.header()
  const reader = held.takeLast()
  const { header, state } = seeWal(wal, reader)
  if (sameHeader(before, header) && state.frameCount >= knownCount) return reader
  held.giveBack(reader)
  throw new Error('its WAL was restarted meanwhile')
}
