/**
 * Random histories of one replica: generations that follow each other, each with indexes, segments and snapshots, with the
 * owner object or without, and with any subset of the objects lost. Objects are their trailers: it is for what is decided from
 * listings and trailers.
 */
import { formatGeneration, type Generation } from '../../src/domain/wal/generation.ts'
import { type Lineage } from '../../src/domain/stored/lineage.ts'
import { comparePositions, type WalPosition } from '../../src/domain/wal/position.ts'
import {
  formatObjectPath,
  type ObjectRef,
  ownerObjectName,
} from '../../src/domain/stored/replica-layout.ts'
import { formatReplicaOwner, type StoredRecord } from '../../src/domain/stored/replica-owner.ts'
import { type SnapshotTrailer, type WalSegmentTrailer } from '../../src/domain/stored/trailer.ts'
import { MemoryReplicaClient } from './memory-replica-client.ts'
import { objectOf } from './object-of.ts'

export interface Commit {
  /** The generation's place in the history. */
  readonly at: number
  readonly generation: Generation
  readonly position: WalPosition
  readonly timeMs: number
}

interface HistoryObject {
  readonly at: number
  readonly path: string
  readonly trailer: SnapshotTrailer | WalSegmentTrailer
}

export type OwnerKind = 'none' | 'recorded' | 'recorded, alive' | 'old, ended' | 'old, alive'

export class LossyReplica {
  readonly client = new MemoryReplicaClient()
  readonly ownerKind: OwnerKind
  /** All that was ever stored, in the order of the history. */
  readonly objects: readonly HistoryObject[]
  /** At the ends of segments, and of snapshots of empty WALs. */
  readonly commits: readonly Commit[]
  readonly #random: () => number

  constructor(random: () => number) {
    this.#random = random
    const objects: HistoryObject[] = []
    const commits: Commit[] = []
    let timeMs = 1_000_000
    let before: { generation: Generation; end: WalPosition } | undefined
    const hasLineage = random() < 0.8
    const count = 1 + this.#below(3)
    for (let at = 0; at < count; at += 1) {
      timeMs += 1000
      const generation = formatGeneration(Uint8Array.from({ length: 8 }, () => this.#below(256)))
      const follows = before === undefined ? [] : [before]
      const lineage = hasLineage ? { ordinal: at + 1, epoch: 1, follows } : undefined
      const made = this.#generation(at, generation, timeMs, lineage)
      objects.push(...made.objects)
      commits.push(...made.commits)
      const last = made.commits.at(-1)
      if (last === undefined) throw new Error('a generation has a commit')
      timeMs = last.timeMs
      before = { generation, end: last.position }
    }
    this.objects = objects
    this.commits = commits
    for (const [i, { path, trailer }] of objects.entries()) {
      this.client.objects.set(path, { bytes: objectOf(trailer), createdAtMs: 5000 + i * 10 })
    }
    this.ownerKind = this.#pick([
      'none',
      'recorded',
      'recorded',
      'recorded, alive',
      'old, ended',
      'old, alive',
    ])
    this.#writeOwner(commits.at(-1), count)
  }

  get present(): readonly HistoryObject[] {
    return this.objects.filter(({ path }) => this.client.objects.has(path))
  }

  get newest(): Commit {
    const newest = this.commits.at(-1)
    if (newest === undefined) throw new Error('there is no commit')
    return newest
  }

  /** Deletes some objects, in one of the ways in which they get lost. */
  lose(): void {
    const chance = this.#pick([0.05, 0.2, 0.6, 1])
    const at = this.#below(3)
    const from = this.#below(this.objects.length)
    const isMeant = this.#pick<(object: HistoryObject, i: number) => boolean>([
      () => true,
      (object) => object.at === at,
      (object) => object.trailer.kind === 'snapshot',
      (object) => object.at === at && object.trailer.kind === 'wal-segment',
      (object) => object.at === at && object.trailer.kind === 'snapshot',
      (_, i) => i >= from,
    ])
    for (const [i, object] of this.objects.entries()) {
      if (isMeant(object, i) && this.#random() < chance) this.client.objects.delete(object.path)
    }
  }

  /** The newest commit that what is there leads to. */
  get best(): Commit | undefined {
    return this.commits.findLast((commit) => this.leadsTo(commit))
  }

  /** Whether a snapshot and all segments behind it are there, up to a commit. */
  leadsTo({ at, position }: Commit): boolean {
    const isThere = ({ path }: HistoryObject): boolean => this.client.objects.has(path)
    const ofGeneration = this.objects.filter((each) => each.at === at)
    return ofGeneration.some((object) => {
      const { trailer } = object
      if (trailer.kind !== 'snapshot' || !isThere(object)) return false
      if (comparePositions(trailer.consistentFrom, position) > 0) return false
      return ofGeneration.every((each) => {
        if (each.trailer.kind !== 'wal-segment' || each.trailer.index < trailer.index) return true
        const { index, startOffset: offset } = each.trailer
        return comparePositions({ index, offset }, position) >= 0 || isThere(each)
      })
    })
  }

  /** What is left and proves that more was stored than a commit. */
  proofBehind({ at, position }: Commit): string | undefined {
    const found = this.present.find((object) => {
      if (object.at !== at) return object.at > at
      const { trailer } = object
      if (trailer.kind === 'snapshot') return comparePositions(trailer.consistentFrom, position) > 0
      const { index, endOffset: offset } = trailer
      return comparePositions({ index, offset }, position) > 0
    })
    if (found !== undefined) return found.path
    const isRecorded = this.ownerKind.startsWith('recorded')
    return isRecorded && this.commits.at(-1) !== this.#find(at, position) ? 'the owner' : undefined
  }

  #find(at: number, position: WalPosition): Commit | undefined {
    return this.commits.find(
      (each) => each.at === at && comparePositions(each.position, position) === 0,
    )
  }

  #generation(
    at: number,
    generation: Generation,
    beganMs: number,
    lineage: Lineage | undefined,
  ): { objects: HistoryObject[]; commits: Commit[] } {
    const objects: HistoryObject[] = []
    const commits: Commit[] = []
    let timeMs = beganMs
    let sum = at * 1000
    const add = (ref: ObjectRef, trailer: HistoryObject['trailer']): void => {
      objects.push({ at, path: formatObjectPath(ref), trailer })
    }
    let end: WalPosition = { index: 0, offset: 0 }
    const snapshot = (index: number): void => {
      add(
        { kind: 'snapshot', generation, index },
        {
          kind: 'snapshot',
          generation,
          index,
          consistentFrom: end,
          pageSizeBytes: 4096,
          pageCount: 1,
          startTimeMs: timeMs,
          endTimeMs: timeMs + 5,
          commitTimeMs: timeMs,
          lineage,
        },
      )
      if (end.offset === 0) commits.push({ at, generation, position: end, timeMs })
    }
    let due: number | undefined = 0
    if (this.#random() < 0.4) snapshot(0)
    if (objects.length > 0) due = undefined
    let previousIndexEnd: WalSegmentTrailer['previousIndexEnd']
    const indexCount = (due === undefined ? 0 : 1) + this.#below(4)
    for (let index = 0; index < indexCount; index += 1) {
      let offset = 0
      const segments = 1 + this.#below(3)
      for (let n = 0; n < segments; n += 1) {
        const isTaken = objects.some(
          ({ trailer }) => trailer.kind === 'snapshot' && trailer.index === index,
        )
        if (due === undefined && !isTaken && this.#random() < 0.2) due = index
        const endOffset = offset + (offset === 0 ? 32 : 0) + 4120 * (1 + this.#below(3))
        const checksumBefore = { s0: sum, s1: 1 }
        const checksumAfter = { s0: (sum += 1), s1: 1 }
        timeMs += 10
        add(
          { kind: 'wal-segment', generation, index, offset },
          {
            kind: 'wal-segment',
            generation,
            index,
            startOffset: offset,
            endOffset,
            pageSizeBytes: 4096,
            bigEndian: false,
            databaseSizePages: 1,
            salts: { salt1: at, salt2: index },
            checksumBefore,
            checksumAfter,
            captures: [{ endOffset, timeMs }],
            previousIndexEnd: offset === 0 ? previousIndexEnd : undefined,
            source: undefined,
          },
        )
        offset = endOffset
        end = { index, offset }
        previousIndexEnd = { offset, checksum: checksumAfter }
        commits.push({ at, generation, position: end, timeMs })
        const isLast = index === indexCount - 1 && n === segments - 1
        const isFirst = !objects.some(({ trailer }) => trailer.kind === 'snapshot')
        if (due !== undefined && (this.#random() < 0.5 || (isLast && isFirst))) {
          snapshot(due)
          due = undefined
        }
      }
    }
    return { objects, commits }
  }

  #writeOwner(last: Commit | undefined, ordinal: number): void {
    const kind = this.ownerKind
    if (kind === 'none' || last === undefined) return
    const { generation, position, timeMs: commitTimeMs } = last
    const stored: StoredRecord = {
      generation,
      ordinal,
      hasSnapshot: true,
      position: position.offset === 0 ? undefined : position,
      commitTimeMs,
      before: undefined,
    }
    const process = {
      host: 'h',
      machine: 'm',
      boot: 'b',
      pid: 1,
      pidNamespace: 'n',
      startTicks: '1',
      lock: '',
      isContained: false,
      startedAtMs: 1,
    }
    const content = formatReplicaOwner({
      token: 't',
      epoch: 1,
      instance: 'i',
      process,
      claimedAtMs: 1,
      renewedAtMs: 1,
      leaseMs: undefined,
      released: !kind.endsWith('alive'),
      stored: kind.startsWith('recorded') ? stored : undefined,
    })
    this.client.objects.set(ownerObjectName, { bytes: Buffer.from(content), createdAtMs: 1 })
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }

  #pick<T>(items: readonly T[]): T {
    const item = items[this.#below(items.length)]
    if (item === undefined) throw new Error('nothing to pick')
    return item
  }
}
