/**
 * Who writes to a replica. One object of the replica names its owner: a process that has claimed it. Each claim has a
 * token of its own, by which everybody sees whether the owner is still the one that they know.
 */
import { type Generation, parseGeneration } from '../wal/generation.js'
import { type WalPosition } from '../wal/position.js'
import { parseProcessIdentity, type ProcessIdentity } from '../process-identity.js'

/** What an owner says that it, or the one before it, has stored: what is not there is lost. */
export interface StoredRecord {
  readonly generation: Generation
  /** See `Lineage`. */
  readonly ordinal: number
  /** Its first snapshot was finished and looked at. Without one, the generation has only been begun. */
  readonly hasSnapshot: boolean
  /** Up to where its segments were confirmed to be stored; undefined: none was. */
  readonly position: WalPosition | undefined
  /** Time of the last commit there, or of the beginning; milliseconds since 1970. */
  readonly commitTimeMs: number
  /** Of one without a snapshot: the newest that had one, which is what can be restored until then. Undefined: not known. */
  readonly before: StoredRecord | undefined
}

/** The record of a generation that is about to be begun on a replica that holds what `recorded` says. */
export function recordOfBegun(
  begun: Pick<StoredRecord, 'generation' | 'ordinal' | 'commitTimeMs'>,
  recorded: StoredRecord | undefined,
): StoredRecord {
  const before = recorded?.hasSnapshot === true ? recorded : recorded?.before
  return { ...begun, hasSnapshot: false, position: undefined, before }
}

export interface ReplicaOwner {
  /** Of this claim and no other. */
  readonly token: string
  /** One more than that of the claim before. */
  readonly epoch: number
  /** The local state that it writes from. */
  readonly instance: string
  readonly process: ProcessIdentity
  readonly claimedAtMs: number
  /** Of the last sign of life, where it gives any. */
  readonly renewedAtMs: number
  /** Without a sign of life for so long, it may be taken for dead; undefined: it gives none. */
  readonly leaseMs: number | undefined
  /** It has ended, and writes no more. */
  readonly released: boolean
  /** The newest generation; undefined: not known, as in an object of an earlier version. Never ahead of what is stored. */
  readonly stored: StoredRecord | undefined
}

/** What the local state remembers of its claims. */
export interface RememberedClaims {
  readonly instance: string
  /** The newest first, and those before that may be stored: a crash may have come between remembering a claim and making it. */
  readonly tokens: readonly string[]
}

/** For a rolling deployment. Whoever writes a longer one into the object, by which nobody would write there any more, is not waited for. */
const longestLeaseMs = 3_600_000

/** What is to be thought of the owner that somebody finds who wants to write. */
export type ClaimVerdict =
  /** There is none. */
  | { readonly kind: 'free' }
  /** It was this local state. `ended`: the process that wrote from it is known to have. */
  | { readonly kind: 'ours'; readonly ended: boolean }
  /** It lives on this machine: two of them is a mistake. */
  | { readonly kind: 'in use' }
  /** It may live, and is to be waited for. */
  | { readonly kind: 'leased'; readonly leaseMs: number }
  /** Somebody else, who stops writing when he sees that he is the owner no more. */
  | { readonly kind: 'another' }

export function judgeOwner(
  found: ReplicaOwner | undefined,
  facts: {
    readonly self: ProcessIdentity
    readonly isSelf: boolean
    /** Of the owner's process. */
    readonly state: 'alive' | 'ended' | 'unknown'
    readonly tokens: readonly string[]
  },
): ClaimVerdict {
  if (found === undefined) return { kind: 'free' }
  const { self, isSelf, state, tokens } = facts
  const { released } = found
  const leaseMs = found.leaseMs === undefined ? undefined : Math.min(found.leaseMs, longestLeaseMs)
  const isOver = released || state === 'ended'
  if (state === 'alive' && !isSelf && !released) {
    return leaseMs === undefined ? { kind: 'in use' } : { kind: 'leased', leaseMs }
  }
  if (isOurClaim(found, { self, tokens })) return { kind: 'ours', ended: isOver || isSelf }
  if (isSelf && !released) return { kind: 'in use' }
  return isOver || leaseMs === undefined ? { kind: 'another' } : { kind: 'leased', leaseMs }
}

/**
 * Whether a claim is one that this local state has made. A copy of it on another machine knows the token, too, and cannot
 * go on where this one may.
 */
export function isOurClaim(
  { token, process }: ReplicaOwner,
  { self, tokens }: { readonly self: ProcessIdentity; readonly tokens: readonly string[] },
): boolean {
  return tokens.includes(token) && isSameMachine(process, self)
}

function isSameMachine(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return (a.boot !== '' && a.boot === b.boot) || (a.host === b.host && a.machine === b.machine)
}

export function formatReplicaOwner(owner: ReplicaOwner): string {
  const { claimedAtMs, renewedAtMs, leaseMs, stored, ...rest } = owner
  const fields = {
    version: 1,
    ...rest,
    claimedAt: new Date(claimedAtMs).toISOString(),
    renewedAt: new Date(renewedAtMs).toISOString(),
    leaseMs: leaseMs ?? null,
    stored: stored === undefined ? null : formatStored(stored),
  }
  return `${JSON.stringify(fields, undefined, 2)}\n`
}

/** The owner in a stored text; undefined if it is nothing of the kind. */
export function parseReplicaOwner(text: string): ReplicaOwner | undefined {
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof content !== 'object' || content === null) return undefined
  const fields = content as Readonly<Record<string, unknown>>
  const { token, epoch, instance, leaseMs, released } = fields
  const process = parseProcessIdentity(fields.process)
  const claimedAtMs = parseTime(fields.claimedAt)
  const renewedAtMs = parseTime(fields.renewedAt)
  if (process === undefined || claimedAtMs === undefined || renewedAtMs === undefined) {
    return undefined
  }
  if (typeof token !== 'string' || typeof instance !== 'string') return undefined
  if (!isCount(epoch)) return undefined
  if (typeof released !== 'boolean') return undefined
  if (leaseMs !== null && !(typeof leaseMs === 'number' && leaseMs > 0)) return undefined
  const lease = leaseMs ?? undefined
  return {
    token,
    epoch,
    instance,
    process,
    claimedAtMs,
    renewedAtMs,
    leaseMs: lease,
    released,
    stored: parseStored(fields.stored),
  }
}

function formatStored({ commitTimeMs, position, before, ...rest }: StoredRecord): unknown {
  return {
    ...rest,
    position: position ?? null,
    commitTime: new Date(commitTimeMs).toISOString(),
    ...(before === undefined ? {} : { before: formatStored(before) }),
  }
}

/** What is no such record says nothing. */
function parseStored(value: unknown, { isBefore } = { isBefore: false }): StoredRecord | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const fields = value as Readonly<Record<string, unknown>>
  const { ordinal, hasSnapshot } = fields
  const generation =
    typeof fields.generation === 'string' ? parseGeneration(fields.generation) : undefined
  const commitTimeMs = parseTime(fields.commitTime)
  const position = parsePosition(fields.position)
  if (generation === undefined || commitTimeMs === undefined || position === 'none') {
    return undefined
  }
  if (!isCount(ordinal) || typeof hasSnapshot !== 'boolean') return undefined
  const before =
    hasSnapshot || isBefore ? undefined : parseStored(fields.before, { isBefore: true })
  return { generation, ordinal, hasSnapshot, position, commitTimeMs, before }
}

function parsePosition(value: unknown): WalPosition | undefined | 'none' {
  if (value === null) return undefined
  if (typeof value !== 'object') return 'none'
  const { index, offset } = value as Readonly<Record<string, unknown>>
  return isCount(index) && isCount(offset) ? { index, offset } : 'none'
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function parseTime(value: unknown): number | undefined {
  const timeMs = typeof value === 'string' ? Date.parse(value) : Number.NaN
  return Number.isNaN(timeMs) ? undefined : timeMs
}
