/** What the main thread and a SQLite thread say to each other. */
import { type CaptureCursor } from '../../usecase/ports/managed-database.js'

export type SqliteCall =
  | { call: 'open'; database: number; path: string; rollBytes: number | undefined }
  | { call: 'begin'; database: number; cursor: CaptureCursor | undefined }
  | { call: 'verifyMore'; database: number }
  | { call: 'capture'; database: number; maxBytes: number; isEager: boolean; atOnce: boolean }
  | { call: 'finish-wal'; database: number; maxBytes: number; tryMs: number }
  | { call: 'lock'; database: number; path: string; spinMs: number; holdMs: number }
  | { call: 'unlock'; database: number }
  | { call: 'rest'; database: number }
  | { call: 'close'; database: number }
  | { call: 'checkpoint'; path: string; wal: string | undefined }

export type SqliteRequest = SqliteCall & { readonly id: number }

export type SqliteReply =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | {
      readonly id: number
      readonly ok: false
      readonly message: string
      readonly code: string | undefined
    }
