/** The Azure client against Azurite. */
import { randomBytes, randomUUID } from 'node:crypto'
import {
  ContainerSASPermissions,
  generateBlobSASQueryParameters,
  StorageSharedKeyCredential,
} from '@azure/storage-blob'
import { describe, expect, inject, test } from 'vitest'
import { type AbsReplicaTarget } from '../../src/domain/settings/config.js'
import { formatObjectPath } from '../../src/domain/stored/replica-layout.js'
import { Secret } from '../../src/domain/settings/secret.js'
import { openAbsReplica } from '../../src/infrastructure/replica-clients/azure/abs-store.js'
import { absTarget, plainContainer } from '../support/stores/azurite.js'
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
import { failure, testObjectStore } from './object-store.contract.js'

const mebibyte = 1024 * 1024

const store = inject('stores').azurite
if ('unavailable' in store) {
  test.skip(`Azurite is not reached: ${store.unavailable}`, () => undefined)
} else {
  const vendor = plainContainer(store)
  const open = (settings: Partial<AbsReplicaTarget> = {}) => {
    const target = absTarget(store, { prefix: `contract/${randomUUID()}`, ...settings })
    return { target, client: openAbsReplica(target) }
  }
  const sas = (permissions: string, expiresInMs = 600_000) =>
    new Secret(
      generateBlobSASQueryParameters(
        {
          containerName: store.container,
          permissions: ContainerSASPermissions.parse(permissions),
          expiresOn: new Date(Date.now() + expiresInMs),
        },
        new StorageSharedKeyCredential(store.accountName, store.accountKey),
      ).toString(),
    )

  describe('Azurite', () => {
    describeReplicaClient('Azurite', () => {
      const { client, target } = open()
      return Promise.resolve({
        client,
        putForeign: async (path, bytes) => {
          await vendor.uploadBlockBlob(
            `${target.prefix}/${path}`,
            Buffer.from(bytes),
            bytes.byteLength,
          )
        },
        [Symbol.asyncDispose]: () => Promise.resolve(),
      })
    })

    testObjectStore((settings) => open(settings).client)

    test('an upload that is cancelled while its parts are on the way shows nothing', async () => {
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
        const others = [1, 2, 3].map((number) => upload.sendPart({ number, bytes, last: false }))
        setTimeout(() => controller.abort(new Error('enough')), 5)
        await Promise.all(others.map((other) => expect(other).rejects.toThrow('enough')))
      }
      expect(await collect(client.listSnapshots(generation, signal))).toEqual([])
    })

    test('blocks that another program left under the name are no obstacle', async () => {
      const { client, target } = open({ partSizeBytes: mebibyte })
      const name = `${target.prefix}/${formatObjectPath(snapshot(0))}`
      const theirs = Buffer.alloc(64, 7).toString('base64')
      await vendor.getBlockBlobClient(name).stageBlock(theirs, Buffer.from('left'), 4)
      const bytes = randomBytes(2 * mebibyte)
      await put(client, snapshot(0), bytes)
      expect((await get(client, snapshot(0))).equals(bytes)).toBe(true)
    })

    test('a sas-token does for everything', async () => {
      const { client } = open({ accountKey: undefined, sasToken: sas('racwdl') })
      await put(client, segment(0, 0), Buffer.from('x'))
      expect((await get(client, segment(0, 0))).toString()).toBe('x')
      expect(await collect(client.listGenerations(signal))).toEqual([generation])
      await client.delete([segment(0, 0)], signal)
    })

    test.each<[string, Partial<AbsReplicaTarget>, string]>([
      ['a wrong key', { accountKey: new Secret('d3Jvbmc=') }, 'key or token is not accepted'],
      [
        'a token that may only read',
        { accountKey: undefined, sasToken: sas('r') },
        'permission denied',
      ],
      [
        'an expired token',
        { accountKey: undefined, sasToken: sas('racwdl', -60_000) },
        'the sas-token has expired',
      ],
      ['no container', { bucket: 'tsreplicate-absent' }, 'there is no such container'],
    ])('%s is told in plain words', async (_, settings, phrase) => {
      const { client, target } = open(settings)
      for (const attempt of [
        () => put(client, segment(0, 0), Buffer.from('x')),
        () => put(client, snapshot(0), randomBytes(9 * mebibyte)),
        () => collect(client.listGenerations(signal)),
        () => client.delete([segment(0, 0)], signal),
      ]) {
        const error = await failure(attempt())
        expect.soft(error.message).toContain(phrase)
        expect(error.message).toContain(' abs://devstoreaccount1@tsreplicate-')
        expect(error.hint).toBeDefined()
        expect(error.retryable).toBe(false)
        const shown = `${error.message} ${String(error.cause)} ${JSON.stringify(error)}`
        for (const secret of [target.accountKey, target.sasToken]) {
          if (secret !== undefined) expect(shown).not.toContain(secret.reveal())
        }
      }
    })
  })
}
