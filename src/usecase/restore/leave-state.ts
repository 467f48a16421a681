import { sameChecksum } from '../../domain/wal/wal-format.js'
import { digestBytes, type DigestPage } from '../../domain/pages/segment-pages.js'
import { ownTrailer, type WalSegmentTrailer } from '../../domain/stored/trailer.js'
import { type Generation } from '../../domain/wal/generation.js'
import { comparePositions } from '../../domain/wal/position.js'
import { listGeneration } from '../stored/replica-history.js'
import { readTrailer } from '../stored/trailers.js'
import { type FileIdentity } from '../ports/managed-database.js'
import { type PageMapStore } from '../ports/page-map-store.js'
import { type ReplicaClient, type WalSegmentInfo } from '../ports/replica-client.js'
import { type Spool } from '../ports/spool.js'
import { type RestoreReport } from './restore-types.js'

/** A file that was just restored, and that nobody has opened yet. */
export interface RestoredFile {
  readonly identity: FileIdentity
  /** From its beginning to its end, in pieces of whole pages. */
  read(): AsyncIterable<Uint8Array>
}

export interface LeaveStateOptions {
  readonly client: ReplicaClient
  readonly spool: Spool
  readonly pages: PageMapStore
  readonly digestPage: DigestPage
  readonly file: RestoredFile
}

/** Pages whose digests are written at once. */
const pagesAtOnce = 4096

/**
 * Leaves local state of a database that was restored to the newest commit: the last segment that is stored, and the page map of
 * what was restored. Its replication then goes on in the generation, as that of a daemon that was restarted: the page map tells
 * what was written in between. Returns why that cannot be; undefined: it was left.
 */
export async function leaveState(
  { generation, position, pageSizeBytes }: RestoreReport,
  { client, spool, pages, digestPage, file }: LeaveStateOptions,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (pageSizeBytes === undefined) return 'its page size is not known'
  const last = await findLast({ client, generation }, signal)
  const end = { index: last?.stored.index ?? 0, offset: last?.trailer?.endOffset ?? 0 }
  if (last !== undefined && last.trailer === undefined) return 'the last segment has no trailer'
  if (comparePositions(end, position) !== 0) return 'the replica has more than was restored'
  await spool.beginGeneration({ generation, identity: file.identity }, signal)
  if (last?.trailer !== undefined) {
    await spoolSegment({ client, spool, stored: last.stored, trailer: last.trailer }, signal)
  }
  const of = { generation, pageSizeBytes }
  const checksum = last?.trailer?.checksumAfter ?? { s0: 0, s1: 0 }
  await pages.begin(of, { position: end, checksum })
  const opened = await pages.open(of)
  if (opened === undefined || !sameChecksum(opened.end.checksum, checksum)) {
    return 'the page map cannot be read back'
  }
  await using body = await pages.startBody()
  let pending = new Uint8Array(pagesAtOnce * digestBytes)
  let count = 0
  for await (const piece of file.read()) {
    signal.throwIfAborted()
    for (let at = 0; at < piece.length; at += pageSizeBytes) {
      pending.set(digestPage(piece.subarray(at, at + pageSizeBytes)), count * digestBytes)
      count += 1
      if (count < pagesAtOnce) continue
      await body.add(pending)
      pending = new Uint8Array(pagesAtOnce * digestBytes)
      count = 0
    }
  }
  await body.add(pending.subarray(0, count * digestBytes))
  await body.keep()
  return undefined
}

interface LastSegment {
  readonly stored: WalSegmentInfo
  readonly trailer: WalSegmentTrailer | undefined
}

async function findLast(
  { client, generation }: { readonly client: ReplicaClient; readonly generation: Generation },
  signal: AbortSignal,
): Promise<LastSegment | undefined> {
  const { segments } = await listGeneration(client, generation, signal)
  const stored = segments.at(-1)
  if (stored === undefined) return undefined
  return { stored, trailer: ownTrailer(stored, await readTrailer(client, stored, signal)) }
}

/** Puts a stored segment into the spool. */
async function spoolSegment(
  of: {
    readonly client: ReplicaClient
    readonly spool: Spool
    readonly stored: WalSegmentInfo
    readonly trailer: WalSegmentTrailer
  },
  signal: AbortSignal,
): Promise<void> {
  const { client, spool, stored, trailer } = of
  const { index, offset, sizeBytes } = stored
  const length = await client.contentBytes({ ref: stored, sizeBytes }, signal)
  await using writer = await spool.startSegment({ index, offset }, signal)
  for await (const chunk of client.read(stored, { offset: 0, length }, signal)) {
    await writer.write(chunk)
  }
  await writer.finish(trailer)
}
