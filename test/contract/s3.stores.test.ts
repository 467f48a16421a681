/** The S3 client against real servers: MinIO, and Ceph, which is the stricter one. */
import { randomBytes, randomUUID } from 'node:crypto'
import {
  CreateBucketCommand,
  ListMultipartUploadsCommand,
  PutObjectCommand,
  PutObjectLockConfigurationCommand,
} from '@aws-sdk/client-s3'
import { afterAll, describe, expect, inject, test, vi } from 'vitest'
import { type S3ReplicaTarget } from '../../src/domain/settings/config.js'
import { formatObjectPath } from '../../src/domain/stored/replica-layout.js'
import { Secret } from '../../src/domain/settings/secret.js'
import { openS3Replica } from '../../src/infrastructure/replica-clients/s3/s3-store.js'
import { startMinioSession } from '../support/stores/minio-session.js'
import { plainClient } from '../support/stores/s3-bucket.js'
import { s3Target } from '../support/stores/s3-target.js'
import {
  collect,
  describeReplicaClient,
  generation,
  get,
  put,
  segment,
  signal,
  snapshot,
} from './replica-client.contract.js'
import { type ReplicaClient } from '../../src/usecase/ports/replica-client.js'
import { failure, testObjectStore } from './object-store.contract.js'

const mebibyte = 1024 * 1024

const { minio, ceph } = inject('stores')
for (const [name, store] of [
  ['MinIO', minio],
  ['Ceph', ceph],
] as const) {
  if ('unavailable' in store) {
    test.skip(`${name} is not reached: ${store.unavailable}`, () => undefined)
    continue
  }
  const vendor = plainClient(store)
  const open = (settings: Partial<S3ReplicaTarget> = {}) => {
    const target = s3Target(store, { prefix: `contract/${randomUUID()}`, ...settings })
    return { target, client: openS3Replica(target) }
  }
  /** The ids of the unfinished uploads of one object, which MinIO lists under no other prefix. */
  const unfinished = async (key: string) => {
    const command = new ListMultipartUploadsCommand({ Bucket: store.bucket, Prefix: key })
    const { Uploads: uploads } = await vendor.send(command)
    return (uploads ?? []).map(({ UploadId: id }) => id)
  }

  describe(name, () => {
    afterAll(() => vendor.destroy())

    describeReplicaClient(name, () => {
      const { client, target } = open()
      return Promise.resolve({
        client,
        putForeign: async (path, bytes) => {
          const key = `${target.prefix}/${path}`
          await vendor.send(new PutObjectCommand({ Bucket: target.bucket, Key: key, Body: bytes }))
        },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      })
    })

    testObjectStore((settings) => open(settings).client)

    test('an upload that is cancelled while its parts are on the way leaves none', async () => {
      const { client, target } = open()
      const controller = new AbortController()
      const key = `${target.prefix}/${formatObjectPath(snapshot(0))}`
      {
        await using upload = await client.startUpload(
          snapshot(0),
          { expectedBytes: 100 * mebibyte },
          controller.signal,
        )
        const bytes = randomBytes(upload.partSizeBytes)
        await upload.sendPart({ number: 0, bytes, last: false })
        expect(await unfinished(key)).toHaveLength(1)
        const others = [1, 2, 3].map((number) => upload.sendPart({ number, bytes, last: false }))
        setTimeout(() => controller.abort(new Error('enough')), 5)
        await Promise.all(others.map((other) => expect(other).rejects.toThrow('enough')))
      }
      await client.sweep(signal)
      expect(await unfinished(key)).toEqual([])
      expect(await collect(client.listSnapshots(generation, signal))).toEqual([])
    })

    const credentials = (accessKeyId: string, secret: string, token?: string) => ({
      credentials: {
        accessKeyId,
        secretAccessKey: new Secret(secret),
        sessionToken: token === undefined ? undefined : new Secret(token),
      },
    })

    test.each([
      ['an unknown key id', credentials('AKIAUNKNOWN000000000', 'x'), 'access key id is not known'],
      ['a wrong secret', credentials(store.accessKeyId, 'wrong'), 'secret access key does not'],
      ['no bucket', { bucket: 'tsreplicate-absent' }, 'there is no such bucket'],
    ])('%s is told in plain words', async (_, settings, phrase) => {
      const { client } = open(settings)
      for (const attempt of [
        () => put(client, segment(0, 0), Buffer.from('x')),
        () => put(client, snapshot(0), randomBytes(9 * mebibyte)),
        () => get(client, segment(0, 0)),
        () => client.delete([segment(0, 0)], signal),
        () => collect(client.listGenerations(signal)),
      ]) {
        const error = await failure(attempt())
        expect(error.message).toContain(phrase)
        expect(error.message).toContain(' s3://tsreplicate-')
        expect(error.hint).toBeDefined()
        expect(error.retryable).toBe(false)
      }
    })

    test('a clock that is hours wrong is put right by the first refusal', async () => {
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 5 * 60 * 60 * 1000 })
      try {
        const { client } = open()
        const error = await failure(put(client, segment(0, 0), Buffer.from('x')))
        expect(error.message).toContain('the clock of this machine')
        expect(error.retryable).toBe(true)
        await put(client, segment(0, 0), Buffer.from('x'))
      } finally {
        vi.useRealTimers()
      }
    })

    if (name === 'MinIO') {
      test('a bucket whose objects are locked takes small and large ones', async () => {
        const bucket = `locked-${randomUUID()}`
        await vendor.send(
          new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: true }),
        )
        await vendor.send(
          new PutObjectLockConfigurationCommand({
            Bucket: bucket,
            ObjectLockConfiguration: {
              ObjectLockEnabled: 'Enabled',
              Rule: { DefaultRetention: { Mode: 'GOVERNANCE', Days: 1 } },
            },
          }),
        )
        const { client } = open({ bucket, provider: 'minio' })
        const bytes = randomBytes(9 * mebibyte)
        await put(client, segment(0, 0), bytes.subarray(0, 100))
        await put(client, snapshot(0), bytes)
        expect((await get(client, snapshot(0))).equals(bytes)).toBe(true)
        expect(await get(client, segment(0, 0))).toHaveLength(100)
      })

      test('a session that may not list, or not delete, says so, and works otherwise', async () => {
        const objects = ['s3:GetObject', 's3:PutObject']
        const { client: owner, target } = open()
        await put(owner, segment(0, 0), Buffer.from('x'))
        for (const [actions, permission, attempt] of [
          [
            objects,
            's3:ListBucket',
            (client: ReplicaClient) => collect(client.listGenerations(signal)),
          ],
          [
            [...objects, 's3:ListBucket'],
            's3:DeleteObject',
            (client: ReplicaClient) => client.delete([segment(0, 0)], signal),
          ],
        ] as const) {
          const session = await startMinioSession(store, actions)
          const { accessKeyId, secretAccessKey, sessionToken } = session
          const client = openS3Replica({
            ...target,
            ...credentials(accessKeyId, secretAccessKey, sessionToken),
          })
          await put(client, segment(0, 0), Buffer.from('y'))
          expect((await get(client, segment(0, 0))).toString()).toBe('y')
          await client.sweep(signal)
          const error = await failure(attempt(client))
          expect(error.message).toContain('permission denied')
          expect(error.hint).toContain(permission)
        }
        const { accessKeyId, secretAccessKey } = await startMinioSession(store, objects)
        const broken = openS3Replica({
          ...target,
          ...credentials(accessKeyId, secretAccessKey, 'broken'),
        })
        expect((await failure(get(broken, segment(0, 0)))).message).toContain('session token')
      })
    }

    if (name === 'Ceph') {
      test('uploads that another process left are swept when they are a day old', async () => {
        const { client, target } = open()
        const key = `${target.prefix}/${formatObjectPath(snapshot(0))}`
        const left = await openS3Replica(target).startUpload(
          snapshot(0),
          { expectedBytes: 1 },
          signal,
        )
        const bytes = randomBytes(left.partSizeBytes)
        await left.sendPart({ number: 0, bytes, last: false })
        await client.sweep(signal)
        expect(await unfinished(key)).toHaveLength(1)
        vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 25 * 60 * 60 * 1000 })
        try {
          await failure(client.sweep(signal))
          await client.sweep(signal)
        } finally {
          vi.useRealTimers()
        }
        expect(await unfinished(key)).toEqual([])
      })
    }
  })
}
