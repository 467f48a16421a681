/**
 * Whether what is in a WAL now continues what was captured before. "Not continuous" is a value with a reason: it ends
 * the generation and begins the next, and the reason is logged.
 */

/** Every reason for which a generation begins. */
export type BreakReason =
  | 'no generation exists'
  | 'local state is unreadable'
  | 'max index exceeded'
  | 'local state has no segment'
  | 'database file replaced'
  | 'database file written past its wal'
  | 'wal replaced'
  | 'page size changed'
  | 'no wal'
  | 'wal truncated by another process'
  | 'wal restarted while it was not watched'
  | 'wal overwritten by another process'
  | 'wal restarted during the first look'
  | 'local state was removed'
  | 'local state has lost a segment'
  | 'replica missed segments that the spool no longer has'
  | 'replica is ahead of the local state'
  | 'replica differs from the local state'
  | 'replica taken over from another writer'
  | 'replica has later commit times'

export interface Broken {
  readonly kind: 'broken'
  readonly reason: BreakReason
  readonly detail: string
}

export type Continuity = { readonly kind: 'continuous' } | Broken

export const continuous: Continuity = { kind: 'continuous' }

export function broken(reason: BreakReason, detail: string): Broken {
  return { kind: 'broken', reason, detail }
}
