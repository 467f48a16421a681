/** A database of a bench with a replica on MinIO. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ListObjectsV2Command, type ListObjectsV2CommandOutput } from '@aws-sdk/client-s3'
import { temporaryFolder } from '../support/cli.ts'
import { plainClient } from '../support/stores/s3-bucket.ts'
import { type S3Store } from '../support/stores/server.ts'

export interface Scene {
  readonly folder: string
  readonly db: string
  readonly oracle: string
  readonly config: string
  readonly path: string
}

let sceneCount = 0

/** A configuration for a folder of its own in the bucket. */
export function makeScene(
  store: S3Store,
  endpoint: string,
  settings: { replica?: object; database?: object } = {},
): Scene {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  sceneCount += 1
  const path = `bench/${process.pid}-${sceneCount}`
  const scene = { folder, db, oracle: join(folder, 'oracle'), config: join(folder, 'c.yml'), path }
  configure(store, endpoint, scene, settings)
  return scene
}

export function configure(
  store: S3Store,
  endpoint: string,
  { config, db, path }: Scene,
  settings: { replica?: object; database?: object } = {},
): void {
  const replica = {
    type: 's3',
    bucket: store.bucket,
    path,
    endpoint,
    region: store.region,
    'force-path-style': true,
    'access-key-id': store.accessKeyId,
    'secret-access-key': store.secretAccessKey,
    ...settings.replica,
  }
  const dbs = [{ path: db, ...settings.database, replicas: [replica] }]
  writeFileSync(config, JSON.stringify({ logging: { type: 'json' }, dbs }))
}

/** How many objects there are below a prefix. */
export async function countObjects(store: S3Store, prefix: string): Promise<number> {
  const client = plainClient(store)
  let count = 0
  let token: string | undefined
  do {
    const page: ListObjectsV2CommandOutput = await client.send(
      new ListObjectsV2Command({ Bucket: store.bucket, Prefix: prefix, ContinuationToken: token }),
    )
    count += page.KeyCount ?? 0
    token = page.NextContinuationToken
  } while (token !== undefined)
  client.destroy()
  return count
}
