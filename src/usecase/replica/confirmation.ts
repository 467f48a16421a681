/**
 * Whether a replica has what its store acknowledged. A store that answers "stored" and stores nothing, or loses one object,
 * would else look healthy for ever. Everything sent since the last look is compared, name and size, with one listing from
 * the first of it on.
 *
 * Listings may lag: what is missing in one is looked for again after a pause, in a listing of all there is and under its
 * own name. Only what is not there either is lost; it stays unconfirmed until it was sent again and is listed.
 */
import { ObjectNotFoundError, ReplicaError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import { comparePositions, type WalPosition } from '../../domain/wal/position.js'
import {
  formatObjectPath,
  type ObjectRef,
  type SnapshotRef,
} from '../../domain/stored/replica-layout.js'
import { endOf, startOf } from '../../domain/stored/segment-chain.js'
import { type Clock } from '../ports/clock.js'
import { type ReplicaClient, type SnapshotInfo } from '../ports/replica-client.js'
import { type SpooledSegment } from '../ports/spool.js'

/** A segment that the store acknowledged. */
export interface SentSegment {
  /** Of these its place and sizes are of interest: what is in the spool may be another object by then. */
  readonly segment: SpooledSegment
  /** As a listing shows it; undefined: not known. */
  readonly storedBytes: number | undefined
  /** Since when its first commit waits. */
  readonly sinceMs: number
}

/** A segment that a listing showed. */
export type SeenSegment = Pick<SentSegment, 'segment'> & { readonly storedBytes: number }

/** A snapshot that the store acknowledged. */
export interface SentSnapshot {
  readonly ref: SnapshotRef
  /** As a listing shows it; undefined: not known. */
  readonly storedBytes: number | undefined
}

/** Between two looks at the same. */
const lookAgainMs = 5000

export class Confirmation {
  readonly #client: ReplicaClient
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #intervalMs: number
  /** In order, from the first that is not confirmed. */
  #sent: SentSegment[] = []
  #snapshot: SentSnapshot | undefined
  /** A snapshot that the store has, and not as it was sent. */
  #damaged: Missing | undefined
  #isSnapshotConfirmed = true
  #lost: SentSegment[] = []
  /** Of what was lost, some is not known to be there yet. */
  #isMending = false
  #isSurpassed = false
  #lastAt = Number.NEGATIVE_INFINITY
  /** When to look again after something was not as it should be. */
  #lookAgainAt: number | undefined
  #pauseMs: number
  /** What was missing at the last look. */
  #missing = new Set<string>()

  constructor(options: {
    client: ReplicaClient
    clock: Pick<Clock, 'monotonic'>
    intervalMs: number
  }) {
    this.#client = options.client
    this.#clock = options.clock
    this.#intervalMs = options.intervalMs
    this.#pauseMs = this.#firstPauseMs
  }

  /** What is known of other generations, and of segments behind `position`, is of no use any more. */
  begin(
    place: { readonly generation: Generation; readonly position: WalPosition | undefined },
    newest: SentSnapshot | undefined,
  ): void {
    const { generation, position } = place
    this.#sent = this.#sent.filter(
      ({ segment }) =>
        segment.generation === generation &&
        position !== undefined &&
        comparePositions(endOf(segment), position) <= 0,
    )
    this.#lost = []
    this.#isSurpassed = false
    this.#isMending &&= this.#sent.length > 0
    this.#snapshot = newest
    this.#isSnapshotConfirmed = true
  }

  /** The store acknowledged a segment, once more if it had been lost. */
  acknowledged(sent: SentSegment): void {
    const { index, startOffset } = sent.segment
    const last = this.#sent.at(-1)
    if (last === undefined) this.#lastAt = this.#clock.monotonic()
    const isNext =
      last === undefined || comparePositions(endOf(last.segment), startOf(sent.segment)) <= 0
    if (isNext) {
      this.#sent.push(sent)
      return
    }
    const at = this.#sent.findIndex(
      ({ segment }) => segment.index === index && segment.startOffset === startOffset,
    )
    const before = this.#sent[at]
    if (before !== undefined) this.#sent[at] = { ...sent, sinceMs: before.sinceMs }
    this.#lost = this.#lost.filter(({ segment }) => !isSame(segment, sent.segment))
  }

  /** Whether this snapshot is known to be another one than was sent, by its size: the store has cut it. */
  isDamaged({ generation, index, sizeBytes }: SnapshotInfo): boolean {
    const known = this.#damaged
    return (
      known !== undefined &&
      known.path === formatObjectPath({ kind: 'snapshot', generation, index }) &&
      known.sizeBytes === sizeBytes
    )
  }

  /** The store acknowledged a snapshot, which is looked at as soon as possible. */
  acknowledgedSnapshot(snapshot: SentSnapshot): void {
    this.#snapshot = snapshot
    this.#isSnapshotConfirmed = false
    this.#damaged = undefined
  }

  /** Since when the first commit waits that is not confirmed. */
  get sinceMs(): number | undefined {
    return this.#sent[0]?.sinceMs
  }

  /** Where that begins which is not confirmed; undefined: all is that was sent. */
  get from(): WalPosition | undefined {
    const [first] = this.#sent
    return first === undefined ? undefined : startOf(first.segment)
  }

  /** Bytes that the spool keeps because they are not confirmed. */
  get unconfirmedBytes(): number {
    return this.#sent.reduce((sum, { segment }) => sum + segment.sizeBytes, 0)
  }

  get isSnapshotConfirmed(): boolean {
    return this.#isSnapshotConfirmed
  }

  /** Whether everything is confirmed that was sent. */
  get isComplete(): boolean {
    return this.#sent.length === 0 && this.#isSnapshotConfirmed
  }

  /** The next of those that have to be sent again, with the same bytes. */
  get lost(): SentSegment | undefined {
    return this.#lost[0]
  }

  /** Something was lost and is not confirmed yet: nothing is to be sent behind it. */
  get isMending(): boolean {
    return this.#isMending
  }

  /** Whether the last look showed segments behind all that was sent: who stores them has gone on from here, too. */
  get isSurpassed(): boolean {
    return this.#isSurpassed
  }

  /** How long until the replica is to be looked at; undefined: there is nothing to confirm. */
  dueInMs({ isUrgent }: { readonly isUrgent: boolean }): number | undefined {
    if (this.isComplete) return undefined
    const now = this.#clock.monotonic()
    if (this.#lookAgainAt !== undefined) return Math.max(0, this.#lookAgainAt - now)
    if (isUrgent || !this.#isSnapshotConfirmed) return 0
    return Math.max(0, this.#lastAt + this.#intervalMs - now)
  }

  /**
   * Compares what was sent with what is there, and calls `confirmed` with what is confirmed by that, in order. Throws
   * {@link ReplicaError} when something is lost.
   */
  async check(
    signal: AbortSignal,
    confirmed?: (segments: readonly SeenSegment[]) => Promise<void>,
  ): Promise<void> {
    const isSecond = this.#missing.size > 0
    this.#lastAt = this.#clock.monotonic()
    // Whatever fails here is tried again, and must not keep anything else from being done meanwhile.
    this.#lookAgainAt = this.#lastAt + this.#pauseMs
    const missing = [
      ...(await this.#missingSnapshot(signal)),
      ...(await this.#missingSegments({ isSecond, confirmed }, signal)),
    ]
    if (missing.length === 0) {
      this.#missing.clear()
      this.#isMending = false
      this.#lookAgainAt = undefined
      this.#pauseMs = this.#firstPauseMs
      return
    }
    const seenTwice = missing.filter(({ path }) => this.#missing.has(path))
    this.#missing = new Set(missing.map(({ path }) => path))
    if (seenTwice.length > 0) {
      this.#pauseMs = Math.min(this.#pauseMs * 2, Math.max(this.#intervalMs, this.#firstPauseMs))
      this.#lookAgainAt = this.#lastAt + this.#pauseMs
    }
    await this.#judge(seenTwice, signal)
  }

  get #firstPauseMs(): number {
    return Math.min(lookAgainMs, this.#intervalMs)
  }

  async #missingSnapshot(signal: AbortSignal): Promise<readonly Missing[]> {
    const snapshot = this.#snapshot
    if (snapshot === undefined) return []
    const { ref, storedBytes } = snapshot
    this.#isSnapshotConfirmed = false
    for await (const found of this.#client.listSnapshots(ref.generation, signal)) {
      if (found.index !== ref.index) continue
      if (storedBytes !== undefined && found.sizeBytes !== storedBytes) {
        return [missingOf(ref, found.sizeBytes)]
      }
      this.#snapshot = { ref, storedBytes: found.sizeBytes }
      this.#isSnapshotConfirmed = true
      return []
    }
    return [missingOf(ref, undefined)]
  }

  /** Those of what was sent that are not there as they were sent. What lies in front of the first is confirmed. */
  async #missingSegments(
    {
      isSecond,
      confirmed: tell,
    }: {
      readonly isSecond: boolean
      readonly confirmed: ((segments: readonly SeenSegment[]) => Promise<void>) | undefined
    },
    signal: AbortSignal,
  ): Promise<readonly Missing[]> {
    const sent = [...this.#sent]
    const [first] = sent
    if (first === undefined) return []
    const from = isSecond ? undefined : startOf(first.segment)
    const sizes = new Map<string, number>()
    const { generation } = first.segment
    const end = endOf(sent.at(-1)?.segment ?? first.segment)
    this.#isSurpassed = false
    for await (const found of this.#client.listWalSegments(generation, signal, { from })) {
      sizes.set(formatObjectPath(found), found.sizeBytes)
      // What begins at the end may be the next one, whose answer was lost.
      this.#isSurpassed ||= comparePositions(found, end) > 0
    }
    const missing: Missing[] = []
    const seen: SeenSegment[] = []
    for (const each of sent) {
      const { segment, storedBytes } = each
      const ref = refOf(segment)
      const sizeBytes = sizes.get(formatObjectPath(ref))
      if (sizeBytes === undefined || (storedBytes !== undefined && sizeBytes !== storedBytes)) {
        missing.push({ ...missingOf(ref, sizeBytes), sent: each })
      } else if (missing.length === 0) seen.push({ segment, storedBytes: sizeBytes })
    }
    this.#sent = this.#sent.filter((each) => !sent.slice(0, seen.length).includes(each))
    await tell?.(seen)
    return missing
  }

  /** Of what two listings lack: is it there under its name? */
  async #judge(suspects: readonly Missing[], signal: AbortSignal): Promise<void> {
    const lost: Missing[] = []
    for (const suspect of suspects) {
      const isThere = suspect.sizeBytes === undefined && (await this.#exists(suspect.ref, signal))
      if (!isThere) lost.push(suspect)
    }
    const [first] = lost
    if (first === undefined) return
    this.#missing.clear()
    this.#lost = lost.flatMap(({ sent }) => (sent === undefined ? [] : [sent]))
    this.#isMending ||= this.#lost.length > 0
    const isSnapshot = first.ref.kind === 'snapshot'
    if (isSnapshot) this.#damaged = first
    const what =
      first.sizeBytes === undefined ? 'is not there' : `has ${first.sizeBytes} bytes there`
    const others = lost.length > 1 ? ` (and ${lost.length - 1} more)` : ''
    throw new ReplicaError(
      `${first.path} on ${this.#client.location} was acknowledged by the store, but ${what}${others}: it is ${isSnapshot ? 'taken' : 'sent'} again`,
      {
        // What is lost of the segments is known, and the rest is as it was.
        retryable: !isSnapshot,
        hint: 'check what the store does with the objects that it acknowledges: until this stops, do not rely on this replica',
      },
    )
  }

  async #exists(ref: ObjectRef, signal: AbortSignal): Promise<boolean> {
    let readBytes = 0
    try {
      for await (const chunk of this.#client.read(ref, { offset: 0, length: 1 }, signal)) {
        readBytes += chunk.length
      }
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error
    }
    return readBytes > 0
  }
}

interface Missing {
  readonly ref: ObjectRef
  readonly path: string
  /** What is there under its name; undefined: nothing is listed. */
  readonly sizeBytes: number | undefined
  readonly sent?: SentSegment
}

function missingOf(ref: ObjectRef, sizeBytes: number | undefined): Missing {
  return { ref, path: formatObjectPath(ref), sizeBytes }
}

function refOf({ generation, index, startOffset }: SpooledSegment): ObjectRef {
  return { kind: 'wal-segment', generation, index, offset: startOffset }
}

/** Whether two are the same object. */
export function isSame(a: SpooledSegment, b: SpooledSegment): boolean {
  return (
    a.index === b.index &&
    a.startOffset === b.startOffset &&
    a.endOffset === b.endOffset &&
    a.sizeBytes === b.sizeBytes
  )
}
