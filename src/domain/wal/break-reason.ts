interface ReasonFacts {
  readonly isOtherContent: boolean
  /** By the page map it can be found what the file differs in from what is stored: with that, the generation goes on. */
  readonly isComparable?: true
}

/**
 * Every reason for which a generation ends and the next one begins, and whether what follows may be something else than what
 * was captured before. That a WAL does not continue what was captured is a value with such a reason, which is logged.
 */
const breakReasons = {
  'no generation exists': { isOtherContent: false },
  'local state is unreadable': { isOtherContent: false },
  'max index exceeded': { isOtherContent: false },
  'local state has no segment': { isOtherContent: false, isComparable: true },
  'database file replaced': { isOtherContent: true, isComparable: true },
  'database file written past its wal': { isOtherContent: true, isComparable: true },
  'database file differs from what is stored': { isOtherContent: true, isComparable: true },
  'wal replaced': { isOtherContent: true, isComparable: true },
  'page size changed': { isOtherContent: false },
  'no wal': { isOtherContent: false, isComparable: true },
  'wal truncated by another process': { isOtherContent: false, isComparable: true },
  'wal restarted while it was not watched': { isOtherContent: false, isComparable: true },
  'wal overwritten by another process': { isOtherContent: false, isComparable: true },
  'wal restarted during the first look': { isOtherContent: false, isComparable: true },
  'local state was removed': { isOtherContent: false },
  'local state has lost a segment': { isOtherContent: false },
  'replica missed segments that the spool no longer has': { isOtherContent: false },
  'replica is ahead of the local state': { isOtherContent: false },
  'replica differs from the local state': { isOtherContent: false },
  'replica taken over from another writer': { isOtherContent: false },
  'replica has later commit times': { isOtherContent: false },
} satisfies Record<string, ReasonFacts>

export type BreakReason = keyof typeof breakReasons

export function bringsOtherContent(reason: BreakReason): boolean {
  return breakReasons[reason].isOtherContent
}

export function isComparable(reason: BreakReason): boolean {
  const facts: ReasonFacts = breakReasons[reason]
  return facts.isComparable === true
}

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
