import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { formatObjectPath } from '../../../../src/domain/stored/replica-layout.js'
import { systemClock } from '../../../../src/infrastructure/clock/system-clock.js'
import { createLz4Compressor } from '../../../../src/infrastructure/lz4/frame-encoder.js'
import { type Logger } from '../../../../src/usecase/ports/logger.js'
import { type ManagedDatabase } from '../../../../src/usecase/ports/managed-database.js'
import { takeSnapshot } from '../../../../src/usecase/replica/take-snapshot.js'
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
      barrier: () =>
        Promise.resolve({
          generation,
          position: { index: 0, offset: 4152 },
          schemaCookie: 1,
          commitTimeMs: 1,
        }),
      letOthers: () => Promise.resolve(),
      storedUpTo: () => Promise.resolve(),
    },
    signal,
  )
  const stored = client.objects.get(formatObjectPath({ kind: 'snapshot', generation, index: 0 }))
  expect(told.at(-1)).toMatchObject({ sz: stored?.bytes.length })
})
