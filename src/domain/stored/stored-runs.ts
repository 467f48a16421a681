/**
 * What is remembered of a replica's segments that were seen there and follow each other without a gap: runs of them, each
 * with a digest over names and sizes. From names alone nobody can tell whether a segment is missing within an index; with
 * the memory, one listing tells that all is as it was.
 */
import { type Generation } from '../wal/generation.js'
import { comparePositions, type WalPosition } from '../wal/position.js'

/** A segment that is stored, as a listing shows it. */
export interface StoredName extends WalPosition {
  readonly sizeBytes: number
}

export interface StoredRun {
  readonly from: WalPosition
  readonly to: WalPosition
  readonly count: number
  /** 16 hex digits. */
  readonly digest: string
}

/** Of one generation: each run goes on where the one before it ends. */
export interface StoredRuns {
  readonly generation: Generation
  readonly runs: readonly StoredRun[]
}

/** A run ends with its index when it has this many segments: what differs is then looked for in few. */
const maxCount = 256

/** With a segment that ends at `to`, and follows the last of them. */
export function extendRuns(
  runs: readonly StoredRun[],
  segment: StoredName,
  to: WalPosition,
): readonly StoredRun[] {
  const last = runs.at(-1)
  const from = { index: segment.index, offset: segment.offset }
  const digest = (before: string): string => digestOf(before, segment)
  if (last === undefined || (last.count >= maxCount && segment.offset === 0)) {
    return [...runs, { from, to, count: 1, digest: digest('') }]
  }
  const { count } = last
  return [...runs.slice(0, -1), { ...last, to, count: count + 1, digest: digest(last.digest) }]
}

/** Whether a listing has all segments of a run and no others: `listed` is in order, and `at` is that of its first. */
export function hasRun(listed: readonly StoredName[], at: number, run: StoredRun): boolean {
  let digest = ''
  for (let i = at; i < at + run.count; i += 1) {
    const segment = listed[i]
    if (segment === undefined) return false
    digest = digestOf(digest, segment)
  }
  const next = listed[at + run.count]
  const isAll = next === undefined || comparePositions(next, run.to) >= 0
  return isAll && digest === run.digest
}

/** Goes on with a digest. Nobody's malice is to be found out by it, but what chance or an operator does. */
function digestOf(before: string, { index, offset, sizeBytes }: StoredName): string {
  let high = before === '' ? 0xdeadbeef : Number.parseInt(before.slice(0, 8), 16)
  let low = before === '' ? 0x41c6ce57 : Number.parseInt(before.slice(8), 16)
  for (const char of `${index}_${offset}:${sizeBytes};`) {
    const code = char.charCodeAt(0)
    high = Math.imul(high ^ code, 2_654_435_761)
    low = Math.imul(low ^ code, 1_597_334_677)
  }
  const mixed = [
    Math.imul(high ^ (high >>> 16), 2_246_822_507) ^ Math.imul(low ^ (low >>> 13), 3_266_489_909),
    Math.imul(low ^ (low >>> 16), 2_246_822_507) ^ Math.imul(high ^ (high >>> 13), 3_266_489_909),
  ]
  return mixed.map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
}
