import { type S3ReplicaTarget } from '../../../src/domain/settings/config.js'
import { Secret } from '../../../src/domain/settings/secret.js'
import { type S3Store } from './server.ts'

/** The configuration of a replica in a store's bucket. */
export function s3Target(
  store: Omit<S3Store, 'stop'>,
  settings: Partial<S3ReplicaTarget> = {},
): S3ReplicaTarget {
  return {
    type: 's3',
    bucket: store.bucket,
    prefix: '',
    endpoint: store.endpoint,
    region: store.region,
    forcePathStyle: true,
    credentials: {
      accessKeyId: store.accessKeyId,
      secretAccessKey: new Secret(store.secretAccessKey),
      sessionToken: undefined,
    },
    partSizeBytes: undefined,
    concurrency: undefined,
    storageClass: undefined,
    encryption: undefined,
    plainSecrets: false,
    provider: undefined,
    caFile: undefined,
    skipVerify: false,
    ...settings,
  }
}
