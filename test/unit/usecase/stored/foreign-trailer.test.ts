import { describe, expect, it } from 'vitest'
import { CorruptionError } from '../../../../src/domain/errors.ts'
import { formatObjectPath, type ObjectRef } from '../../../../src/domain/stored/replica-layout.ts'
import { checkStructure } from '../../../../src/domain/stored/verification.ts'
import {
  type SnapshotTrailer,
  type Trailer,
  type WalSegmentTrailer,
} from '../../../../src/domain/stored/trailer.ts'
import { formatGeneration } from '../../../../src/domain/wal/generation.ts'
import { never } from '../../../../src/kit/abort.ts'
import { type WalEnd } from '../../../../src/usecase/ports/live-comparison.ts'
import { CheckTiling } from '../../../../src/usecase/replica/check-tiling.ts'
import { newestSnapshot } from '../../../../src/usecase/replica/newest-snapshot.ts'
import { readByName, readEnd } from '../../../../src/usecase/replica/stored-end.ts'
import { RetainedListing } from '../../../../src/usecase/retention/list-retained.ts'
import { readGeneration } from '../../../../src/usecase/stored/read-generation.ts'
import { listGeneration } from '../../../../src/usecase/stored/replica-history.ts'
import { readTrailerOrDamage, TrailerReader } from '../../../../src/usecase/stored/trailers.ts'
import { validateReplica } from '../../../../src/usecase/verify/validate-replica.ts'
import { verifyReplica } from '../../../../src/usecase/verify/verify-replica.ts'
import { silent } from '../../../support/silent-logger.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.ts'
import { objectOf } from '../../../support/object-of.ts'

const generation = formatGeneration(Uint8Array.of(1, 1, 1, 1, 1, 1, 1, 1))
const other = formatGeneration(Uint8Array.of(2, 2, 2, 2, 2, 2, 2, 2))
const checksum = { s0: 7, s1: 8 }
const lateMs = 5_000_000

const ofSnapshot: SnapshotTrailer = {
  kind: 'snapshot',
  generation,
  index: 0,
  consistentFrom: { index: 0, offset: 0 },
  pageSizeBytes: 512,
  pageCount: 1,
  startTimeMs: lateMs,
  endTimeMs: lateMs,
  commitTimeMs: lateMs,
  lineage: { ordinal: 9, epoch: 1, follows: [] },
}

const ofSegment: WalSegmentTrailer = {
  kind: 'wal-segment',
  generation,
  index: 0,
  startOffset: 0,
  endOffset: 568,
  pageSizeBytes: 512,
  bigEndian: false,
  databaseSizePages: 1,
  salts: { salt1: 1, salt2: 2 },
  checksumBefore: checksum,
  checksumAfter: checksum,
  captures: [{ endOffset: 568, timeMs: lateMs }],
  previousIndexEnd: undefined,
  source: undefined,
}

const snapshotRef = { kind: 'snapshot', generation, index: 0 } as const
const segmentRef = { kind: 'wal-segment', generation, index: 0, offset: 0 } as const

/** A trailer as it is, and copies of it from the same place of another generation, from another index, and another kind. */
const trailers = {
  own: [ofSnapshot, ofSegment],
  'that of another generation': [
    { ...ofSnapshot, generation: other },
    { ...ofSegment, generation: other },
  ],
  'that of another index': [
    { ...ofSnapshot, index: 4 },
    { ...ofSegment, index: 4 },
  ],
  'that of the other kind': [ofSegment, ofSnapshot],
} satisfies Record<string, [Trailer, Trailer]>

function replicaWith([snapshot, segment]: [Trailer, Trailer]): MemoryReplicaClient {
  const client = new MemoryReplicaClient()
  const put = (ref: ObjectRef, trailer: Trailer): void => {
    const bytes = objectOf(trailer)
    client.objects.set(formatObjectPath(ref), { bytes, createdAtMs: 1000 })
  }
  put(snapshotRef, snapshot)
  put(segmentRef, segment)
  return client
}

describe.each(Object.entries(trailers))('objects whose trailer is %s', (name, pair) => {
  const isOwn = name === 'own'
  const client = replicaWith(pair)
  const where = { client, generation, spooled: [] }
  const listed = async () => {
    const listing = await listGeneration(client, generation, never)
    return { listing, snapshot: listing.snapshots[0]!, segment: listing.segments[0]! }
  }

  it('tell the place of their generation only by their own', async () => {
    const found = await readGeneration(client, generation, never)
    expect(found?.lineage).toEqual(isOwn ? ofSnapshot.lineage : undefined)
    expect(found?.end).toEqual(isOwn ? { index: 0, offset: 568 } : undefined)
    expect(found?.lastMomentMs).toBe(isOwn ? lateMs : 1000)
  })

  it('tell where the generation ends on the replica only by their own', async () => {
    const { segment } = await listed()
    const position = { index: 0, offset: 568 }
    const end = isOwn ? { position, checksum } : undefined
    expect(await readEnd(where, segment, never)).toEqual(end)
    const named = await readByName(where, { index: 0, offset: 0 }, never)
    expect(named?.position).toEqual(end?.position)
  })

  it('are restored by their own only', async () => {
    const { snapshot, segment } = await listed()
    const reader = new TrailerReader(client, [], never)
    expect(await reader.snapshot(snapshot)).toEqual(isOwn ? ofSnapshot : undefined)
    expect(await reader.segment(segment)).toEqual(isOwn ? ofSegment : undefined)
  })

  it('let a daemon go on behind them by their own only', async () => {
    const { snapshot, segment } = await listed()
    const newest = await newestSnapshot(
      { client, logger: silent, confirmation: { isDamaged: () => false } },
      [snapshot],
      never,
    )
    expect(newest?.lineage).toEqual(isOwn ? ofSnapshot.lineage : undefined)
    const place = { client, generation, firstIndex: 0, listed: [segment] }
    const tiling = new CheckTiling({ ...place, remembered: undefined, spooled: [] })
    await tiling.readSome(never)
    expect(tiling.result.runs.runs).toHaveLength(isOwn ? 1 : 0)
  })

  it('compare a live database with the commit that their own says', async () => {
    const ends: (WalEnd | undefined)[] = []
    await validateReplica(
      {
        source: { name: 'memory', client },
        databasePath: '/app.db',
        restore: () =>
          Promise.resolve({
            ...{ replica: 'memory', generation, snapshotIndex: 0, commitTimeMs: lateMs },
            ...{ position: { index: 0, offset: 568 }, pageSizeBytes: 512, pageCount: 1 },
            ...{ timeIsApproximate: false, segmentCount: 1, storedBytes: 1, durationMs: 1 },
            notes: [],
          }),
        scratch: {
          open: () =>
            Promise.resolve({ path: '/', [Symbol.asyncDispose]: () => Promise.resolve() }),
        },
        comparison: { compare: ({ end }) => Promise.resolve(void ends.push(end)) },
        decode: (source) => source,
        clock: new ManualClock(),
        stored: undefined,
      },
      never,
    )
    const { salts, endOffset } = ofSegment
    expect(ends).toEqual([isOwn ? { salts, endOffset, checksum } : undefined])
  })

  it('are said by verify to end where their own says, and others are damage', async () => {
    const options = { client, level: 'structure' as const, decode: refuse }
    const [verified] = await verifyReplica(options, never)
    expect(verified).toMatchObject({
      firstCommitMs: isOwn ? lateMs : undefined,
      lastCommitMs: isOwn ? lateMs : undefined,
      end: isOwn ? { index: 0, offset: 568 } : undefined,
    })
    const { listing, snapshot, segment } = await listed()
    const tails = new Map(
      await Promise.all(
        [snapshot, segment].map(
          async (each) =>
            [formatObjectPath(each), await readTrailerOrDamage(client, each, never)] as const,
        ),
      ),
    )
    const known = { withoutSnapshot: 'unknown', storedTo: { index: 0, offset: 568 } } as const
    const problems = checkStructure(listing, tails, known).map(({ problem }) => problem)
    const foreign = 'its trailer belongs to another object'
    expect(problems).toEqual(isOwn ? [] : [foreign, foreign])
    expect(verified?.findings).toHaveLength(isOwn ? 0 : 2)
  })

  it('are kept by retention for what their own says, and no snapshot with another counts', async () => {
    const [retained] = await new RetainedListing(client).read(never)
    expect(retained).toMatchObject({
      lineage: isOwn ? ofSnapshot.lineage : undefined,
      endMs: isOwn ? lateMs : 1000,
      endPosition: isOwn ? { index: 0, offset: 568 } : undefined,
    })
    expect(retained?.snapshots[0]?.broken).toBe(!isOwn)
  })
})

// eslint-disable-next-line require-yield, @typescript-eslint/require-await
async function* refuse(): AsyncGenerator<Uint8Array> {
  throw new CorruptionError('it is not to be read')
}

describe('an object that cannot be decrypted', () => {
  const client = replicaWith(trailers.own)
  client.beforeOperation = (operation, path) => {
    if (operation === 'read' && path.includes(generation)) throw new CorruptionError('bad chunk')
  }
  const whole = { ...ofSnapshot, generation: other, lineage: { ordinal: 1, epoch: 1, follows: [] } }
  const ref = { kind: 'snapshot', generation: other, index: 0 } as const
  client.objects.set(formatObjectPath(ref), { bytes: objectOf(whole), createdAtMs: 1 })

  it('is damage of its own generation, and does not hide the others', async () => {
    const unreadable: unknown = expect.stringContaining('its trailer is damaged: bad chunk')
    const options = { client, level: 'full' as const, decode: refuse }
    const verified = await verifyReplica(options, never)
    const found = verified.map((each) => [each.generation, each.findings.map((f) => f.problem)])
    expect(found).toEqual([
      [other, [expect.stringContaining('it is not to be read')]],
      [generation, [unreadable, unreadable]],
    ])
    const retained = await new RetainedListing(client).read(never)
    expect(retained.map(({ snapshots }) => snapshots[0]?.broken)).toEqual([true, false])
    expect((await readGeneration(client, generation, never))?.lineage).toBeUndefined()
  })

  it('or that is encrypted and planted among plain ones, does not hide the others', async () => {
    const age = new MemoryReplicaClient()
    age.become(client)
    const bytes = Buffer.from('age-encryption.org/v1\n')
    age.objects.set(formatObjectPath(snapshotRef), { bytes, createdAtMs: 1000 })
    const options = { client: age, level: 'structure' as const, decode: refuse }
    const verified = await verifyReplica(options, never)
    expect(verified.map((each) => each.findings.map(({ problem }) => problem))).toEqual([
      [],
      [expect.stringContaining('it is encrypted with age and no identity was given')],
    ])
    age.objects.delete(formatObjectPath(ref))
    await expect(verifyReplica(options, never)).rejects.toThrow('encrypted with age')
  })
})
