import {
  BucketAlreadyExists,
  BucketAlreadyOwnedByYou,
  CreateBucketCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { type S3Store } from './server.ts'

/** The vendor's client of a store, to look at it and prepare it past ours. */
export function plainClient(store: Omit<S3Store, 'stop' | 'bucket'>): S3Client {
  return new S3Client({
    endpoint: store.endpoint,
    region: store.region,
    forcePathStyle: true,
    credentials: { accessKeyId: store.accessKeyId, secretAccessKey: store.secretAccessKey },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  })
}

/** Makes the bucket of a store, unless it is there. */
export async function createBucket(store: Omit<S3Store, 'stop'>): Promise<void> {
  const client = plainClient(store)
  try {
    await client.send(new CreateBucketCommand({ Bucket: store.bucket }))
  } catch (error) {
    const there = error instanceof BucketAlreadyExists || error instanceof BucketAlreadyOwnedByYou
    if (!there) throw error
  } finally {
    client.destroy()
  }
}
