import { describe, expect, test } from 'vitest'
import { ObjectNotFoundError } from '../../../../src/domain/errors.js'
import { type Generation, formatGeneration } from '../../../../src/domain/wal/generation.js'
import { type FollowedGeneration } from '../../../../src/domain/stored/lineage.js'
import { formatObjectPath } from '../../../../src/domain/stored/replica-layout.js'
import { formatReplicaOwner } from '../../../../src/domain/stored/replica-owner.js'
import { type Trailer } from '../../../../src/domain/stored/trailer.js'
import { chooseBackup } from '../../../../src/usecase/restore/choose-backup.js'
import { type Backup, type RestoreRequest } from '../../../../src/usecase/restore/restore-types.js'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.js'
import { objectOf } from '../../../support/object-of.ts'

const [g1, g2, g3] = [1, 2, 3].map((byte) => formatGeneration(new Uint8Array(8).fill(byte))) as [
  Generation,
  Generation,
  Generation,
]
const checksum = { s0: 0, s1: 0 }

interface Made {
  readonly generation: Generation
  /** Of each segment's commit. */
  readonly times: readonly number[]
  /** So many of them the snapshot needs; absent: none, and the first one's time is its own. */
  readonly snapshotAfter?: number
  readonly ordinal?: number
  readonly follows?: readonly FollowedGeneration[]
  /** As the original has stored it. */
  readonly isPlain?: boolean
}

function replicaOf(...generations: readonly Made[]): MemoryReplicaClient {
  const client = new MemoryReplicaClient()
  const put = (trailer: Trailer, createdAtMs: number, isPlain: boolean): void => {
    const { generation, index } = trailer
    const path =
      trailer.kind === 'snapshot'
        ? formatObjectPath({ kind: 'snapshot', generation, index })
        : formatObjectPath({ kind: 'wal-segment', generation, index, offset: trailer.startOffset })
    const bytes = isPlain ? new Uint8Array(64) : objectOf(trailer)
    client.objects.set(path, { bytes, createdAtMs })
  }
  for (const made of generations) {
    const { generation, times, snapshotAfter = 0, ordinal, follows = [], isPlain = false } = made
    const timeMs = times[Math.max(0, snapshotAfter - 1)] ?? 0
    put(
      {
        kind: 'snapshot',
        generation,
        index: 0,
        consistentFrom: { index: 0, offset: snapshotAfter === 0 ? 0 : endOf(snapshotAfter) },
        pageSizeBytes: 4096,
        pageCount: 1,
        startTimeMs: timeMs,
        endTimeMs: timeMs,
        commitTimeMs: timeMs,
        lineage: ordinal === undefined ? undefined : { ordinal, epoch: 1, follows },
      },
      timeMs,
      isPlain,
    )
    for (const [n, timeMs] of times.entries()) {
      const endOffset = 32 + (n + 1) * 4120
      put(
        {
          kind: 'wal-segment',
          generation,
          index: 0,
          startOffset: n === 0 ? 0 : endOffset - 4120,
          endOffset,
          pageSizeBytes: 4096,
          bigEndian: false,
          databaseSizePages: 1,
          salts: { salt1: 1, salt2: 1 },
          checksumBefore: checksum,
          checksumAfter: checksum,
          captures: [{ endOffset, timeMs }],
          previousIndexEnd: undefined,
          source: undefined,
        },
        timeMs,
        isPlain,
      )
    }
  }
  return client
}

async function choose(
  clients: readonly MemoryReplicaClient[],
  wanted: Partial<RestoreRequest> = {},
): Promise<Backup & { readonly said: readonly string[] }> {
  const sources = clients.map((client, i) => ({ name: `replica-${i + 1}`, client }))
  const request: RestoreRequest = {
    sources,
    generation: undefined,
    target: { kind: 'latest' },
    outputPath: '/out',
    parallelism: 1,
    integrityCheck: 'none',
    dryRun: true,
    command: (flags, replica) => `<${replica} ${flags.join(' ')}>`,
    ...wanted,
  }
  const notes: string[] = []
  const { signal } = new AbortController()
  const backup = await chooseBackup(request, sources, { notes, failed: new Map(), signal })
  return { ...backup, said: [...notes, ...backup.notes] }
}

const never = new AbortController().signal

/** An owner object that says what is stored. */
function ownershipOf(generation: Generation, offset: number, commitTimeMs: number): string {
  return formatReplicaOwner({
    token: '00',
    epoch: 1,
    instance: '00',
    process: {
      host: 'a',
      machine: 'a',
      boot: 'a',
      pidNamespace: '',
      isContained: false,
      pid: 1,
      startTicks: '1',
      lock: '',
      startedAtMs: 0,
    },
    claimedAtMs: 0,
    renewedAtMs: 0,
    leaseMs: undefined,
    released: false,
    stored: {
      generation,
      ordinal: 1,
      hasSnapshot: true,
      before: undefined,
      position: { index: 0, offset },
      commitTimeMs,
    },
  })
}

const after = (generation: Generation, offset?: number): readonly FollowedGeneration[] => [
  { generation, end: offset === undefined ? undefined : { index: 0, offset } },
]
const endOf = (commits: number): number => 32 + commits * 4120

describe('of several generations', () => {
  const ahead: Made = { generation: g1, times: [9000, 9100], ordinal: 1 }

  test('the one that follows is restored, whatever the clocks say, and that they differ is said', async () => {
    const behind: Made = { generation: g2, times: [100, 200], ordinal: 2, follows: after(g1) }
    const { listing, said } = await choose([replicaOf(ahead, behind)])
    expect(listing.generation).toBe(g2)
    expect(said).toEqual([
      expect.stringMatching(`the clocks differed.*<replica-1 -generation ${g1}>`),
    ])
  })

  test('commits behind the place where another one follows are said, with the command', async () => {
    const follows = after(g1, endOf(1))
    const next: Made = { generation: g2, times: [9500], ordinal: 2, follows }
    const { listing, said } = await choose([replicaOf(ahead, next)])
    expect(listing.generation).toBe(g2)
    expect(said).toEqual([expect.stringMatching(`${g1} has commits after .*-generation ${g1}>`)])
  })

  test('a moment is looked for in the newest that reaches back to it', async () => {
    const next: Made = { generation: g2, times: [5000, 6000], ordinal: 2, follows: after(g1) }
    const first: Made = { generation: g1, times: [1000, 2000, 7000], ordinal: 1 }
    const at = async (timeMs: number): Promise<[Generation, number]> => {
      const backup = await choose([replicaOf(first, next)], {
        target: { kind: 'timestamp', timeMs },
      })
      return [backup.listing.generation, backup.commitTimeMs]
    }
    expect(await at(7500)).toEqual([g2, 6000])
    expect(await at(5500)).toEqual([g2, 5000])
    expect(await at(4999)).toEqual([g1, 2000])
  })

  test.each([
    ['two that found the same replica', { ordinal: 2 }, {}],
    ['two of the original, of the same times', { isPlain: true }, { isPlain: true }],
  ])('nothing is restored of %s: the choices are listed', async (_, one, other) => {
    const times = [1000, 2000]
    const client = replicaOf(
      { generation: g1, times, ...one },
      { generation: g2, times, ...one, ...other },
    )
    await expect(choose([client])).rejects.toMatchObject({
      code: 'AMBIGUOUS',
      hint: expect.stringMatching(
        new RegExp(`<replica-1 -generation ${g1}>[^]*<replica-1 -generation ${g2}>`),
      ) as unknown,
    })
    const chosen = await choose([client], { generation: g2 })
    expect(chosen.listing.generation).toBe(g2)
  })

  test('of the original, the one with the newest object is restored', async () => {
    const plain = (generation: Generation, ...times: readonly number[]): Made => ({
      generation,
      times,
      isPlain: true,
    })
    const client = replicaOf(plain(g1, 1000, 9000), plain(g2, 2000, 8000))
    expect((await choose([client])).listing.generation).toBe(g1)
  })

  test('costs a request for the owner, one for each snapshot, and one or two for ends', async () => {
    const client = replicaOf(
      { ...ahead, times: Array.from({ length: 500 }, (_, n) => 1000 + n) },
      { generation: g2, times: [9200], ordinal: 2, follows: after(g1) },
      { generation: g3, times: [9300], ordinal: 3, follows: after(g2) },
    )
    const asked: string[] = []
    client.beforeOperation = (operation) => void asked.push(operation)
    await choose([client])
    const count = (name: string): number => asked.filter((each) => each === name).length
    expect([count('readOwner'), count('list'), count('read')]).toEqual([1, 1 + 3 * 2, 3 + 2])
  })
})

describe('a moment at which a newer generation had begun, before the first of it that can be restored', () => {
  const first: Made = { generation: g1, times: [1000, 2000], ordinal: 1 }
  const late: Made = {
    generation: g2,
    times: [5000, 6000, 7000],
    snapshotAfter: 2,
    ordinal: 2,
    follows: after(g1),
  }
  const third: Made = { generation: g3, times: [8000], ordinal: 3, follows: after(g2) }
  const at = (timeMs: number, ...clients: MemoryReplicaClient[]): ReturnType<typeof choose> =>
    choose(clients, { target: { kind: 'timestamp', timeMs } })

  test('is refused: the commits of the generation before are not all there were', async () => {
    const client = replicaOf(first, late, third)
    for (const timeMs of [5000, 5999]) {
      await expect(at(timeMs, client)).rejects.toMatchObject({
        code: 'CORRUPTION',
        message: expect.stringMatching(
          `generation ${g2} has commits from 1970-01-01T00:00:05.000Z on, and the first moment of it that can be restored is 1970-01-01T00:00:06.000Z.*the generation before it ends at ${g1}/`,
        ) as unknown,
        hint: expect.stringContaining(`<replica-1 -generation ${g1}>`) as unknown,
      })
    }
    expect((await at(6000, client)).listing.generation).toBe(g2)
  })

  test('is refused where the beginning of that generation is gone, unless the commit is of that moment', async () => {
    const client = replicaOf(first, late, third)
    client.objects.delete(
      formatObjectPath({ kind: 'wal-segment', generation: g2, index: 0, offset: 0 }),
    )
    await expect(at(4999, client)).rejects.toMatchObject({
      code: 'CORRUPTION',
      message: expect.stringMatching(`the beginning of generation ${g2} is gone`) as unknown,
    })
    expect((await at(2000, client)).commitTimeMs).toBe(2000)
  })

  test('is restored where another replica reaches it', async () => {
    const backup = await at(5500, replicaOf(first, late), replicaOf({ ...late, snapshotAfter: 1 }))
    expect([backup.source.name, backup.commitTimeMs]).toEqual(['replica-2', 5000])
  })

  test('between two generations, that nothing later is there is not said', async () => {
    const { commitTimeMs, said } = await at(4999, replicaOf(first, late, third))
    expect([commitTimeMs, said]).toEqual([2000, []])
    const [note] = (await at(9000, replicaOf(first, late, third))).said
    expect(note).toMatch('nothing is stored after 1970-01-01T00:00:08.000Z')
  })
})

test('commits that are gone and are proven to be of the moment asked for are lost for it, too', async () => {
  // By a clock that was behind: times stand still.
  const client = replicaOf({ generation: g1, times: [1000, 2000, 2000, 2000], ordinal: 1 })
  await client.writeOwner({ content: ownershipOf(g1, endOf(4), 2000), replaces: undefined }, never)
  const at = (timeMs: number): ReturnType<typeof choose> =>
    choose([client], { target: { kind: 'timestamp', timeMs } })
  expect((await at(2000)).position).toEqual({ index: 0, offset: endOf(4) })
  for (const offset of [endOf(3), endOf(2)]) {
    client.objects.delete(
      formatObjectPath({ kind: 'wal-segment', generation: g1, index: 0, offset }),
    )
    await expect(at(2000)).rejects.toMatchObject({ code: 'CORRUPTION' })
    expect((await at(1999)).commitTimeMs).toBe(1000)
  }
})

describe('of several replicas', () => {
  const short: Made = { generation: g1, times: [1000], ordinal: 1 }
  const long: Made = { generation: g1, times: [1000, 2000], ordinal: 1 }

  test('the one that has more of the same generation is used', async () => {
    const backup = await choose([replicaOf(short), replicaOf(long)])
    expect([backup.source.name, backup.said]).toEqual(['replica-2', []])
  })

  test('the one whose history goes on from the other’s is used, whatever the times', async () => {
    const next: Made = { generation: g2, times: [500], ordinal: 2, follows: after(g1) }
    const backup = await choose([replicaOf(long), replicaOf(next)])
    expect([backup.source.name, backup.said]).toEqual(['replica-2', []])
  })

  test('histories that don’t know each other are told by times, which is said, and equal ones refused', async () => {
    const other: Made = { generation: g3, times: [1500, 2500], ordinal: 4 }
    const backup = await choose([replicaOf(long), replicaOf(other)])
    expect(backup.listing.generation).toBe(g3)
    expect(backup.said).toEqual([
      expect.stringMatching(`replica-1 holds another history.*<replica-1 -generation ${g1}>`),
    ])
    const equal: Made = { ...other, times: [1500, 2000] }
    await expect(choose([replicaOf(long), replicaOf(equal)])).rejects.toMatchObject({
      code: 'AMBIGUOUS',
    })
  })

  test('what is lost on one is restored from the other, or refused where that has less', async () => {
    const lossy = replicaOf(long)
    const snapshot: Trailer = {
      kind: 'snapshot',
      generation: g1,
      index: 0,
      consistentFrom: { index: 0, offset: endOf(3) },
      pageSizeBytes: 4096,
      pageCount: 1,
      startTimeMs: 3000,
      endTimeMs: 3000,
      commitTimeMs: 3000,
      lineage: { ordinal: 1, epoch: 1, follows: [] },
    }
    const path = formatObjectPath({ kind: 'snapshot', generation: g1, index: 0 })
    lossy.objects.set(path, { bytes: objectOf(snapshot), createdAtMs: 3000 })
    const whole = replicaOf({ generation: g1, times: [1000, 2000, 3000], ordinal: 1 })
    const backup = await choose([lossy, whole])
    expect(backup.source.name).toBe('replica-2')
    expect(backup.said).toEqual([expect.stringContaining('replica replica-1 was skipped')])
    const refused = choose([lossy, replicaOf(long)])
    await expect(refused).rejects.toMatchObject({ code: 'CORRUPTION' })
  })
})

describe('while objects vanish', () => {
  const long: Made = { generation: g1, times: [1000, 2000, 3000, 4000, 5000, 6000] }
  const newer: Made = { generation: g2, times: [7000, 8000] }

  test('one after the other, as retention deletes them, the newest that stays is found', async () => {
    const client = replicaOf(long, newer)
    client.objects.delete(formatObjectPath({ kind: 'snapshot', generation: g1, index: 0 }))
    client.beforeOperation = (operation, path) => {
      if (operation === 'read' && path.includes(g1)) client.objects.delete(path)
    }
    expect((await choose([client])).listing.generation).toBe(g2)
    expect([...client.objects.keys()].filter((path) => path.includes(g1))).toEqual([])
  })

  test('one that is listed and never there ends the search', async () => {
    const client = replicaOf(long, newer)
    let reads = 0
    client.beforeOperation = (operation, path) => {
      if (operation !== 'read' || !path.includes(`${g2}/wal/`)) return
      reads += 1
      throw new ObjectNotFoundError(`${path} does not exist`)
    }
    await expect(choose([client])).rejects.toMatchObject({ code: 'OBJECT_NOT_FOUND' })
    expect(reads).toBe(3)
  })
})
