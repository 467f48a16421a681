/** What the main thread and a thread or process that makes SQLite calls say to each other. */
import {
  type CaptureCursor,
  type FileIdentity,
  type OwnIndex,
} from '../../usecase/ports/managed-database.js'
import { type DatabaseFiles } from './opening.js'

export type SqliteCall =
  | {
      call: 'open'
      database: number
      path: string
      identity: FileIdentity
      rollBytes: number | undefined
    }
  | { call: 'begin'; database: number; cursor: CaptureCursor | undefined }
  | { call: 'continue-as'; database: number; index: OwnIndex }
  | { call: 'verifyMore'; database: number }
  | {
      call: 'capture'
      database: number
      maxBytes: number
      isEager: boolean
      atOnce: boolean
      isDeleted: boolean
    }
  | { call: 'finish-wal'; database: number; maxBytes: number; tryMs: number }
  | {
      call: 'lock'
      database: number
      path: string
      spinMs: number
      holdMs: number
      files: DatabaseFiles | undefined
    }
  | { call: 'unlock'; database: number }
  | { call: 'rest'; database: number }
  | { call: 'close'; database: number }
  | { call: 'checkpoint'; database: number; path: string; files: DatabaseFiles }

/** The files of a database that is idle, and the fingerprint that they have until something happens. */
export interface Look {
  readonly path: string
  /** Where the path leads to. */
  readonly file: string
  readonly before: string
  readonly intervalMs: number
}

/** Nobody waits for an answer: a look goes on until its files have changed or it is forgotten. */
export type LookOrder =
  | { readonly call: 'look'; readonly id: number; readonly look: Look }
  | { readonly call: 'forget'; readonly id: number }

export type SqliteRequest = SqliteCall & { readonly id: number }

/** The files of this look are no longer as they were; it is forgotten. */
export interface LookReply {
  readonly changed: number
}

export type SqliteReply =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | {
      readonly id: number
      readonly ok: false
      readonly message: string
      readonly code: string | undefined
    }
