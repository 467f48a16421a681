import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { formatObjectPath } from '../../../../src/domain/stored/replica-layout.js'
import { systemClock } from '../../../../src/infrastructure/clock/system-clock.js'
import { createLz4Compressor } from '../../../../src/infrastructure/lz4/frame-encoder.js'
import { type Logger } from '../../../../src/usecase/ports/logger.js'
import { type ManagedDatabase } from '../../../../src/usecase/ports/managed-database.js'
import { takeSnapshot } from '../../../../src/usecase/replica/take-snapshot.js'
import { barrierAt } from '../../../support/barrier.js'
import { silent } from '../../../support/silent-logger.ts'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.js'

const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
const { signal } = new AbortController()

test('the log tells the size of the object that was stored', async () => {
  const client = new MemoryReplicaClient()
  const told: Record<string, unknown>[] = []
  const logger: Logger = {
    debug: () => undefined,
    info: (fields) => void told.push({ ...fields }),
    warn: () => undefined,
    error: () => undefined,
    child: () => logger,
  }
  const pages = randomBytes(100_000)
  const database: Pick<ManagedDatabase, 'readFile' | 'fileSizeBytes'> = {
    // eslint-disable-next-line @typescript-eslint/require-await -- the port reads a file
    async *readFile() {
      yield pages
    },
    fileSizeBytes: () => Promise.resolve(pages.length),
  }
  await takeSnapshot(
    {
      client,
      database: database as ManagedDatabase,
      lineage: undefined,
      generation,
      compressor: await createLz4Compressor(),
      clock: systemClock,
      logger,
      pageSizeBytes: 4096,
      digests: () => undefined,
      barrier: () =>
        Promise.resolve(barrierAt({ generation, position: { index: 0, offset: 4152 } })),
      letOthers: () => Promise.resolve(),
      storedUpTo: () => Promise.resolve(),
    },
    signal,
  )
  const stored = client.objects.get(formatObjectPath({ kind: 'snapshot', generation, index: 0 }))
  expect(told.at(-1)).toMatchObject({ sz: stored?.bytes.length })
})

test('a snapshot that was read while the WAL was restarted unseen is taken again', async () => {
  const client = new MemoryReplicaClient()
  let reads = 0
  const kept: number[] = []
  const database: Pick<ManagedDatabase, 'readFile' | 'fileSizeBytes'> = {
    // eslint-disable-next-line @typescript-eslint/require-await -- the port reads a file
    async *readFile() {
      reads += 1
      yield new Uint8Array(4096).fill(reads)
    },
    fileSizeBytes: () => Promise.resolve(4096),
  }
  const breaks = [0, 1, 1, 1]
  const finished = await takeSnapshot(
    {
      client,
      database: database as ManagedDatabase,
      lineage: undefined,
      generation,
      compressor: await createLz4Compressor(),
      clock: systemClock,
      logger: silent,
      letOthers: () => Promise.resolve(),
      pageSizeBytes: 4096,
      digests: () => ({
        add: () => Promise.resolve(),
        keep: () => Promise.resolve(void kept.push(reads)),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
      barrier: () =>
        Promise.resolve(
          barrierAt(
            { generation, position: { index: 3, offset: 4152 } },
            { breaks: breaks.shift() ?? 1 },
          ),
        ),
      storedUpTo: () => Promise.resolve(),
    },
    signal,
  )
  expect(finished.index).toBe(3)
  expect(reads).toBe(2)
  expect(kept).toEqual([2])
})

test('no snapshot is read at an index that was rolled while earlier frames are only in the WAL', async () => {
  const client = new MemoryReplicaClient()
  const database: Pick<ManagedDatabase, 'fileSizeBytes'> = {
    fileSizeBytes: () => Promise.resolve(4096),
  }
  const taken = takeSnapshot(
    {
      client,
      database: database as ManagedDatabase,
      lineage: undefined,
      generation,
      compressor: await createLz4Compressor(),
      clock: systemClock,
      logger: silent,
      letOthers: () => Promise.resolve(),
      pageSizeBytes: 4096,
      digests: () => undefined,
      barrier: () =>
        Promise.resolve(
          barrierAt({ generation, position: { index: 1, offset: 4152 } }, { isWithinWal: true }),
        ),
      storedUpTo: () => Promise.resolve(),
    },
    signal,
  )
  await expect(taken).rejects.toThrow(/until all of it is copied back/)
  expect(client.objects.size).toBe(0)
})
