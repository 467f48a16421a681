import { expect, it } from 'vitest'
import { formatObjectPath, objectFolder } from '../../../../src/domain/stored/replica-layout.ts'
import { formatGeneration } from '../../../../src/domain/wal/generation.ts'
import { never } from '../../../../src/kit/abort.ts'
import { verifyReplica } from '../../../../src/usecase/verify/verify-replica.ts'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.ts'
import { objectOf } from '../../../support/object-of.ts'

const generation = formatGeneration(Uint8Array.of(1, 1, 1, 1, 1, 1, 1, 1))
const folder = objectFolder(generation, 'snapshot')
const snapshot = (index: number) => ({ kind: 'snapshot', generation, index }) as const
const [older, newer] = [formatObjectPath(snapshot(0)), formatObjectPath(snapshot(1))]

function makeReplica(): { client: MemoryReplicaClient; listings: () => number } {
  const client = new MemoryReplicaClient()
  for (const index of [0, 1]) {
    const trailer = objectOf({
      ...snapshot(index),
      ...{ consistentFrom: { index, offset: 0 }, pageSizeBytes: 512, pageCount: 1 },
      ...{ startTimeMs: 1, endTimeMs: 1, commitTimeMs: 1 },
      lineage: { ordinal: 1, epoch: 1, follows: [] },
    })
    client.objects.set(formatObjectPath(snapshot(index)), { bytes: trailer, createdAtMs: 1 })
  }
  let listings = 0
  client.beforeOperation = (operation, path) => {
    if (operation === 'list' && path === folder) listings += 1
  }
  return { client, listings: () => listings }
}

const verify = (client: MemoryReplicaClient) =>
  verifyReplica({ client, decode: (source) => source, level: 'structure' }, never)

it('a generation is verified by the listing that it was found by', async () => {
  const { client, listings } = makeReplica()
  expect(await verify(client)).toMatchObject([{ generation, snapshots: 2 }])
  expect(listings()).toBe(1)
})

it('what was deleted after its listing is no damage: it is listed again', async () => {
  const { client, listings } = makeReplica()
  const count = client.beforeOperation
  client.beforeOperation = async (operation, path) => {
    await count?.(operation, path)
    // The first of it that is read, before the others are.
    if (operation === 'read' && path === newer) client.objects.delete(older)
  }
  expect(await verify(client)).toMatchObject([{ generation, snapshots: 1 }])
  expect(listings()).toBe(2)
})
