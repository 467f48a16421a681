/** The client of Google Cloud Storage against fake-gcs-server. */
import { randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, inject, test } from 'vitest'
import { type GcsReplicaTarget } from '../../src/domain/settings/config.js'
import { formatObjectPath } from '../../src/domain/stored/replica-layout.js'
import { openGcsReplica } from '../../src/infrastructure/replica-clients/gcs/gcs-store.js'
import { describeObject, gcsTarget, putObject } from '../support/stores/fake-gcs.js'
import {
  collect,
  describeReplicaClient,
  generation,
  put,
  segment,
  signal,
  snapshot,
} from './replica-client.contract.js'
import { failure, testObjectStore } from './object-store.contract.js'

const kibibyte = 1024
const mebibyte = 1024 * kibibyte

const store = inject('stores')['fake-gcs']
if ('unavailable' in store) {
  test.skip(`fake-gcs-server is not reached: ${store.unavailable}`, () => undefined)
} else {
  const open = (settings: Partial<GcsReplicaTarget> = {}) => {
    const target = gcsTarget(store, { prefix: `contract/${randomUUID()}`, ...settings })
    return { target, client: openGcsReplica(target) }
  }

  describe('fake-gcs-server', () => {
    describeReplicaClient('fake-gcs-server', () => {
      const { client, target } = open()
      return Promise.resolve({
        client,
        putForeign: (path, bytes) => putObject(store, `${target.prefix}/${path}`, bytes),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      })
    })

    testObjectStore((settings) => open(settings).client)

    test.each([1, 600 * kibibyte])('an object of %i bytes gets its storage class', async (size) => {
      const { client, target } = open({ partSizeBytes: 256 * kibibyte, storageClass: 'NEARLINE' })
      await put(client, snapshot(0), Buffer.alloc(size))
      const name = `${target.prefix}/${formatObjectPath(snapshot(0))}`
      expect(await describeObject(store, name)).toMatchObject({
        size: String(size),
        storageClass: 'NEARLINE',
        contentType: 'application/octet-stream',
      })
    })

    test('an upload that is cancelled while a part is on the way shows nothing', async () => {
      const { client } = open()
      const controller = new AbortController()
      {
        await using upload = await client.startUpload(
          snapshot(0),
          { expectedBytes: 100 * mebibyte },
          controller.signal,
        )
        const bytes = randomBytes(upload.partSizeBytes)
        await upload.sendPart({ number: 0, bytes, last: false })
        const other = upload.sendPart({ number: 1, bytes, last: false })
        setTimeout(() => controller.abort(new Error('enough')), 2)
        await expect(other).rejects.toThrow('enough')
      }
      expect(await collect(client.listSnapshots(generation, signal))).toEqual([])
    })

    test('that there is no bucket is told in plain words', async () => {
      const { client } = open({ bucket: 'tsreplicate-absent' })
      for (const attempt of [
        () => put(client, segment(0, 0), Buffer.from('x')),
        () => put(client, snapshot(0), randomBytes(9 * mebibyte)),
        () => collect(client.listGenerations(signal)),
      ]) {
        const error = await failure(attempt())
        expect.soft(error.message).toContain('there is no such bucket')
        expect(error.message).toContain(' gcs://tsreplicate-absent/')
        expect(error.hint).toBeDefined()
        expect(error.retryable).toBe(false)
      }
    })
  })
}
