/** Every store that this run reaches, as its replicas are configured, and with what looks at them past our clients. */
import { randomUUID } from 'node:crypto'
import {
  CopyObjectCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  type S3Client,
} from '@aws-sdk/client-s3'
import {
  ContainerSASPermissions,
  generateBlobSASQueryParameters,
  StorageSharedKeyCredential,
} from '@azure/storage-blob'
import { type AbsStore, plainContainer } from './azurite.ts'
import { copyObject, createGcsBucket, type GcsStore, listNames, readHead } from './fake-gcs.ts'
import { startMinioSession } from './minio-session.ts'
import { type Stores } from './reached.ts'
import { createBucket, plainClient } from './s3-bucket.ts'
import { type S3Store, type UnavailableStore } from './server.ts'

export interface Place {
  readonly env: Readonly<Record<string, string>>
  readonly endpoint: string
  /** The same store at another endpoint, that of a proxy. */
  through(endpoint: string): Place
  /** Of a configuration file, for a folder of the store. */
  replica(path: string): Readonly<Record<string, unknown>>
  /** For our program, and for the original where its URLs can say it. */
  url(path: string): string
  readonly urlWorksForOriginal: boolean
  /** The keys of all objects of a folder, without it. */
  keys(path: string): Promise<string[]>
  /** What is wrong with settings of a replica, and what has to be said of it. */
  troubles(): Promise<readonly Trouble[]>
  /** Settings of credentials that may do all but delete; undefined where the store has no such. */
  withoutDeletion(): Promise<Readonly<Record<string, unknown>> | undefined>
  createBucket(name: string): Promise<void>
  /** The ids of unfinished uploads of an object, where unfinished uploads are a thing. */
  unfinished(key: string): Promise<string[]>
  /** Copies all objects of a folder, which gives them new times. */
  copy(from: string, to: string): Promise<void>
  /** The first 21 letters of every object of a replica's generations. */
  heads(path: string): Promise<string[]>
}

export interface Trouble {
  readonly name: string
  readonly settings: Readonly<Record<string, unknown>>
  readonly phrase: RegExp
}

export function placesOf({
  minio,
  ceph,
  azurite,
  'fake-gcs': fakeGcs,
}: Stores): Readonly<Record<string, Place | UnavailableStore>> {
  return {
    MinIO: 'unavailable' in minio ? minio : s3Place(minio, { speaksSts: true }),
    Ceph: 'unavailable' in ceph ? ceph : s3Place(ceph, { speaksSts: false }),
    Azurite: 'unavailable' in azurite ? azurite : absPlace(azurite),
    'fake-gcs-server': 'unavailable' in fakeGcs ? fakeGcs : gcsPlace(fakeGcs),
  }
}

/** `speaksSts`: whether it gives out sessions with fewer permissions. */
function s3Place(store: Omit<S3Store, 'stop'>, { speaksSts }: { speaksSts: boolean }): Place {
  const { endpoint, bucket, accessKeyId, secretAccessKey, region } = store
  const { port } = new URL(endpoint)
  const withClient = async <T>(work: (client: S3Client) => Promise<T>): Promise<T> => {
    const client = plainClient(store)
    try {
      return await work(client)
    } finally {
      client.destroy()
    }
  }
  return {
    env: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
    endpoint,
    through: (other) => s3Place({ ...store, endpoint: other }, { speaksSts }),
    replica: (path) => ({
      type: 's3',
      bucket,
      path,
      endpoint,
      region,
      'force-path-style': true,
      'access-key-id': accessKeyId,
      'secret-access-key': secretAccessKey,
    }),
    url: (path) => `s3://${bucket}.localhost:${port}/${path}`,
    urlWorksForOriginal: true,
    keys: (path) =>
      withClient(async (client) =>
        (await keysOf(client, bucket, `${path}/`)).map((key) => key.slice(path.length + 1)),
      ),
    troubles: async () => {
      const all = [
        {
          name: 'an unknown key id',
          settings: { 'access-key-id': 'AKIAUNKNOWN000000000' },
          phrase: /access key id is not known/,
        },
        {
          name: 'a wrong secret',
          settings: { 'secret-access-key': 'wrong' },
          phrase: /secret access key does not belong/,
        },
        {
          name: 'no bucket',
          settings: { bucket: `tsreplicate-${randomUUID()}` },
          phrase: /there is no such bucket/,
        },
      ]
      if (!speaksSts) return all
      const mayList = await startMinioSession(store, ['s3:ListBucket'])
      return [
        ...all,
        {
          name: 'a broken session token',
          settings: { ...sessionSettings(mayList), 'session-token': 'broken' },
          phrase: /session token has expired, or is not valid/,
        },
        {
          name: 'no permission to write',
          settings: sessionSettings(mayList),
          phrase: /permission denied.*s3:PutObject/,
        },
      ]
    },
    withoutDeletion: async () =>
      speaksSts
        ? sessionSettings(
            await startMinioSession(store, ['s3:ListBucket', 's3:GetObject', 's3:PutObject']),
          )
        : undefined,
    createBucket: (name) => createBucket({ ...store, bucket: name }),
    unfinished: (key) =>
      withClient(async (client) => {
        const command = new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: key })
        const { Uploads: uploads = [] } = await client.send(command)
        return uploads.flatMap(({ UploadId: id }) => (id === undefined ? [] : [id]))
      }),
    copy: (from, to) =>
      withClient(async (client) => {
        for (const key of await keysOf(client, bucket, `${from}/`)) {
          await client.send(
            new CopyObjectCommand({
              Bucket: bucket,
              CopySource: `${bucket}/${key}`,
              Key: `${to}${key.slice(from.length)}`,
            }),
          )
        }
      }),
    heads: (path) =>
      withClient(async (client) => {
        const heads: string[] = []
        for (const key of await keysOf(client, bucket, `${path}/generations/`)) {
          const { Body: body } = await client.send(
            new GetObjectCommand({ Bucket: bucket, Key: key, Range: 'bytes=0-20' }),
          )
          heads.push((await body?.transformToString()) ?? '')
        }
        return heads
      }),
  }
}

function sessionSettings(
  session: Awaited<ReturnType<typeof startMinioSession>>,
): Readonly<Record<string, unknown>> {
  return {
    'access-key-id': session.accessKeyId,
    'secret-access-key': session.secretAccessKey,
    'session-token': session.sessionToken,
  }
}

async function keysOf(client: S3Client, bucket: string, prefix: string): Promise<string[]> {
  const keys: string[] = []
  let token: string | undefined
  do {
    const page: ListObjectsV2CommandOutput = await client.send(
      new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: token }),
    )
    keys.push(...(page.Contents ?? []).flatMap(({ Key: key }) => (key === undefined ? [] : [key])))
    token = page.NextContinuationToken
  } while (token !== undefined)
  return keys
}

function absPlace(store: Omit<AbsStore, 'stop'>): Place {
  const { endpoint, accountName, accountKey, container: bucket } = store
  const container = plainContainer(store)
  return {
    env: { LITESTREAM_AZURE_ACCOUNT_KEY: accountKey },
    endpoint,
    through: (other) => absPlace({ ...store, endpoint: other }),
    replica: (path) => ({
      type: 'abs',
      bucket,
      path,
      endpoint,
      'account-name': accountName,
      'account-key': accountKey,
    }),
    url: (path) => `abs://${accountName}@${bucket}/${path}?endpoint=${endpoint}`,
    urlWorksForOriginal: false,
    keys: async (path) => {
      const keys: string[] = []
      for await (const { name } of container.listBlobsFlat({ prefix: `${path}/` })) {
        keys.push(name.slice(path.length + 1))
      }
      return keys
    },
    troubles: () =>
      Promise.resolve([
        {
          name: 'a wrong key',
          settings: { 'account-key': 'd3Jvbmc=' },
          phrase: /account key or token is not accepted/,
        },
        {
          name: 'an expired token',
          settings: sasSettings(store, 'racwdl', -60_000),
          phrase: /sas-token has expired/,
        },
        {
          name: 'a token that may only read and list',
          settings: sasSettings(store, 'rl'),
          phrase: /permission denied.*sas-token allows/,
        },
        {
          name: 'no container',
          settings: { bucket: `tsreplicate-${randomUUID()}` },
          phrase: /there is no such container/,
        },
      ]),
    withoutDeletion: () => Promise.resolve(sasSettings(store, 'racwl')),
    createBucket: async (name) => {
      await plainContainer({ ...store, container: name }).create()
    },
    unfinished: () => Promise.resolve([]),
    copy: async (from, to) => {
      for await (const { name } of container.listBlobsFlat({ prefix: `${from}/` })) {
        const body = await container.getBlobClient(name).downloadToBuffer()
        const copy = container.getBlockBlobClient(`${to}${name.slice(from.length)}`)
        await copy.uploadData(body)
      }
    },
    heads: async (path) => {
      const heads: string[] = []
      for await (const { name } of container.listBlobsFlat({ prefix: `${path}/generations/` })) {
        const head = await container.getBlobClient(name).downloadToBuffer(0, 21)
        heads.push(head.toString())
      }
      return heads
    },
  }
}

function gcsPlace(store: Omit<GcsStore, 'stop'>): Place {
  const { endpoint, bucket } = store
  return {
    env: { STORAGE_EMULATOR_HOST: endpoint },
    endpoint,
    through: (other) => gcsPlace({ ...store, endpoint: other }),
    replica: (path) => ({ type: 'gcs', bucket, path }),
    url: (path) => `gcs://${bucket}/${path}`,
    urlWorksForOriginal: true,
    keys: async (path) =>
      (await listNames(store, `${path}/`)).map((name) => name.slice(path.length + 1)),
    // It asks for no credentials.
    troubles: () =>
      Promise.resolve([
        {
          name: 'no bucket',
          settings: { bucket: `tsreplicate-${randomUUID()}` },
          phrase: /there is no such bucket/,
        },
      ]),
    withoutDeletion: () => Promise.resolve(undefined),
    createBucket: (name) => createGcsBucket(endpoint, name),
    unfinished: () => Promise.resolve([]),
    copy: async (from, to) => {
      for (const name of await listNames(store, `${from}/`)) {
        await copyObject(store, { from: name, to: `${to}${name.slice(from.length)}` })
      }
    },
    heads: async (path) => {
      const heads: string[] = []
      for (const name of await listNames(store, `${path}/generations/`)) {
        heads.push(await readHead(store, name, 21))
      }
      return heads
    },
  }
}

function sasSettings(
  { accountName, accountKey, container }: Omit<AbsStore, 'stop'>,
  permissions: string,
  expiresInMs = 3_600_000,
): Readonly<Record<string, unknown>> {
  const token = generateBlobSASQueryParameters(
    {
      containerName: container,
      permissions: ContainerSASPermissions.parse(permissions),
      expiresOn: new Date(Date.now() + expiresInMs),
    },
    new StorageSharedKeyCredential(accountName, accountKey),
  )
  return { 'account-key': undefined, 'sas-token': token.toString() }
}
