/** Which adapter stands behind which kind of store. Loaded only when configured. */
import { type ReplicaTarget } from '../domain/settings/config.js'
import { type FileOwnership } from '../infrastructure/files/ownership.js'
import { type ReplicaClient } from '../usecase/ports/replica-client.js'
import { type UploadRecord } from '../usecase/ports/upload-record.js'

export interface StoreOptions {
  /** What the files of a folder replica get; undefined: they are this process's own. */
  readonly owner?: (() => FileOwnership) | undefined
  /** Remembers uploads under way, where a store needs that. */
  readonly uploads?: UploadRecord | undefined
}

type Target<T extends ReplicaTarget['type']> = Extract<ReplicaTarget, { readonly type: T }>

/** Nothing else in the program names a vendor's adapter. */
const stores: {
  readonly [T in ReplicaTarget['type']]: (
    target: Target<T>,
    options: StoreOptions,
  ) => Promise<ReplicaClient>
} = {
  abs: async (target) =>
    (await import('../infrastructure/replica-clients/azure/abs-store.js')).openAbsReplica(target),
  file: async ({ path }, { owner }) => {
    const { FileReplicaClient } =
      await import('../infrastructure/replica-clients/file/file-replica-client.js')
    return new FileReplicaClient({ path, owner })
  },
  gcs: async (target) =>
    (await import('../infrastructure/replica-clients/gcs/gcs-store.js')).openGcsReplica(target),
  s3: async (target, { uploads }) => {
    const { openS3Replica } = await import('../infrastructure/replica-clients/s3/s3-store.js')
    return openS3Replica(target, {}, uploads)
  },
}

/** A client of the store that a replica is configured to be in, with nothing around it. */
export function openStore<T extends ReplicaTarget['type']>(
  target: Target<T> & { readonly type: T },
  options: StoreOptions = {},
): Promise<ReplicaClient> {
  return stores[target.type](target, options)
}
