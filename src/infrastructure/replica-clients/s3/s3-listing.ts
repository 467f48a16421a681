/** Listings of a bucket. Order, of pages and in them, is the store's. */
import {
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  type _Object as ObjectEntry,
} from '@aws-sdk/client-s3'
import { ReplicaError } from '../../../domain/errors.js'
import { type ListedObject, type ListedPage } from '../object-store/listed-folder.js'
import { type WantedFolder } from '../object-store/object-store-client.js'
import { type Attempt } from '../object-store/refused-request.js'
import { type S3Connection } from './s3-connection.js'
import { isUnsupported } from './s3-errors.js'

/** About what a full page of a listing has. */
const pageSizeBytes = 400 * 1024

/** An upload that is not finished. */
export interface ListedUpload {
  readonly key: string
  readonly uploadId: string
  readonly begunAtMs: number
}

/** What lies right in a folder, whose name ends in a slash. */
export async function* listFolder(
  connection: S3Connection,
  listing: WantedFolder,
  signal: AbortSignal,
): AsyncIterable<ListedPage> {
  const { folder } = listing
  for await (const page of listPages(connection, listing, signal)) {
    const objects = (page.Contents ?? []).map((entry) => {
      const listed = parseEntry(entry, page)
      if (listed !== undefined) return listed
      throw new ReplicaError(
        `cannot list ${connection.urlOf(folder)}: an entry lacks its size or time`,
      )
    })
    const folders = (page.CommonPrefixes ?? []).flatMap(({ Prefix: prefix }) =>
      prefix === undefined ? [] : [decodeKey(prefix, page)],
    )
    yield { objects, folders }
  }
}

async function* listPages(
  connection: S3Connection,
  { folder, first }: WantedFolder,
  signal: AbortSignal,
): AsyncIterable<ListObjectsV2CommandOutput> {
  const attempt: Attempt = {
    action: `list ${connection.urlOf(folder)}`,
    permission: 's3:ListBucket',
  }
  let token: string | undefined
  for (;;) {
    const page: ListObjectsV2CommandOutput = await connection.attempt(
      attempt,
      (client, options) =>
        client.send(
          new ListObjectsV2Command({
            Bucket: connection.bucket,
            Prefix: folder,
            Delimiter: '/',
            EncodingType: 'url',
            // Every name begins with what stands for its place, and so comes after that.
            ...(first === undefined ? {} : { StartAfter: `${folder}${first}` }),
            ...(token === undefined ? {} : { ContinuationToken: token }),
          }),
          options,
        ),
      { signal, sizeBytes: pageSizeBytes },
    )
    yield page
    if (page.IsTruncated !== true) return
    const next = page.NextContinuationToken
    if (next === undefined || next === token) {
      throw new ReplicaError(
        `cannot ${attempt.action}: the store says that there is more, but not where`,
      )
    }
    token = next
  }
}

/** The unfinished uploads under a prefix; none where the store does not tell, or not us. */
export async function listUploads(
  connection: S3Connection,
  prefix: string,
  signal: AbortSignal,
): Promise<ListedUpload[]> {
  const uploads: ListedUpload[] = []
  let marker: { readonly KeyMarker?: string; readonly UploadIdMarker?: string } = {}
  for (;;) {
    const page = await connection.attempt(
      {
        action: `list unfinished uploads under ${connection.urlOf(prefix)}`,
        permission: 's3:ListBucketMultipartUploads',
      },
      (client, options) =>
        client.send(
          new ListMultipartUploadsCommand({
            Bucket: connection.bucket,
            Prefix: prefix,
            EncodingType: 'url',
            ...marker,
          }),
          options,
        ),
      {
        signal,
        sizeBytes: pageSizeBytes,
        expected: (failure) =>
          isUnsupported(failure) || failure.code === 'AccessDenied'
            ? ('untold' as const)
            : undefined,
      },
    )
    if (page === 'untold') return []
    for (const { Key: key, UploadId: uploadId, Initiated: begunAt } of page.Uploads ?? []) {
      if (key === undefined || uploadId === undefined || begunAt === undefined) continue
      uploads.push({ key: decodeKey(key, page), uploadId, begunAtMs: begunAt.getTime() })
    }
    const { NextKeyMarker: nextKey, NextUploadIdMarker: nextId } = page
    if (page.IsTruncated !== true || nextKey === undefined) return uploads
    marker = {
      KeyMarker: decodeKey(nextKey, page),
      ...(nextId === undefined ? {} : { UploadIdMarker: nextId }),
    }
  }
}

/** A key as a listing shows it. Encoded, it can hold any character that XML cannot. */
function decodeKey(
  key: string,
  { EncodingType: encoding }: { EncodingType?: string | undefined },
): string {
  return encoding === 'url' ? decodeURIComponent(key.replaceAll('+', ' ')) : key
}

function parseEntry(
  entry: ObjectEntry,
  page: ListObjectsV2CommandOutput,
): ListedObject | undefined {
  const { Key: key, Size: sizeBytes, LastModified: createdAt } = entry
  if (key === undefined || sizeBytes === undefined || createdAt === undefined) return undefined
  return { name: decodeKey(key, page), sizeBytes, createdAtMs: createdAt.getTime() }
}
