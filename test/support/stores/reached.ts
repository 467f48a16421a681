/** Which stores a run of `npm run test:stores` reaches, as its global setup hands them to the test files. */
import { type ProvidedContext } from 'vitest'
import { type AbsStore } from './azurite.ts'
import { type GcsStore } from './fake-gcs.ts'
import { type S3Store, type UnavailableStore } from './server.ts'

type Connection<T> = Omit<T, 'stop'>

export interface Stores {
  readonly minio: Connection<S3Store> | UnavailableStore
  readonly ceph: Connection<S3Store> | UnavailableStore
  readonly azurite: Connection<AbsStore> | UnavailableStore
  readonly 'fake-gcs': Connection<GcsStore> | UnavailableStore
}

export type StoreName = keyof Stores

declare module 'vitest' {
  interface ProvidedContext {
    readonly stores: Stores
  }
}

export type { ProvidedContext }
