import { DatabaseError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import { type Lineage } from '../../domain/stored/lineage.js'
import { comparePositions, formatPosition, type WalPosition } from '../../domain/wal/position.js'
import { formatTrailer } from '../../domain/stored/trailer.js'
import { type Barrier, type SnapshotDigests } from '../backlog/generation-feed.js'
import { ObjectWriter } from './object-writer.js'
import { type Clock } from '../ports/clock.js'
import { type Compressor, maxBlockBytes } from '../ports/compressor.js'
import { type Logger } from '../ports/logger.js'
import { type ManagedDatabase } from '../ports/managed-database.js'
import { type ReplicaClient } from '../ports/replica-client.js'

export interface TakeSnapshotOptions {
  readonly database: ManagedDatabase
  readonly client: ReplicaClient
  readonly compressor: Compressor
  readonly clock: Clock
  readonly logger: Logger
  readonly generation: Generation
  /** Its place on this replica; undefined: not known. */
  readonly lineage: Lineage | undefined
  readonly pageSizeBytes: number
  /** Everything committed by now, captured and spooled. */
  readonly barrier: () => Promise<Barrier>
  /** Waits while it is the turn of others; called now and then while the body is read. */
  readonly letOthers: () => Promise<void>
  /** For the page map, when everything up to the position is captured; undefined: it has them. */
  readonly digests: (from: WalPosition) => SnapshotDigests | undefined
  /** Resolves when everything up to the position is confirmed to be on this replica. */
  readonly storedUpTo: (position: WalPosition, signal: AbortSignal) => Promise<void>
}

/** Attempts before a snapshot is kept though the schema changed while it was read. */
const maxSchemaAttempts = 3

export interface FinishedSnapshot {
  readonly index: number
  readonly consistentFrom: WalPosition
  /** Its size, as a listing shows it. */
  readonly storedBytes: number
}

/** A snapshot whose generation ended before it could be finished: nothing of it is left. */
export class GenerationEndedError extends Error {}

/**
 * Takes a fuzzy snapshot: the raw database file is read while the application writes, and the object is finished only
 * when everything that the file may contain is stored as WAL. Whatever was copied back during the read came from frames
 * of its index or later and at or before `consistentFrom`; each frame is a whole page, so the replay overwrites every
 * page that was changed, torn ones included, and the rest never changed.
 */
export async function takeSnapshot(
  options: TakeSnapshotOptions,
  signal: AbortSignal,
): Promise<FinishedSnapshot> {
  const { logger } = options
  for (let attempt = 1; ; attempt += 1) {
    const finished = await attemptSnapshot(options, attempt >= maxSchemaAttempts, signal)
    if (typeof finished === 'object') return finished
    logger.info({ attempt }, `${finished} while the snapshot was read: it is taken again`)
  }
}

async function attemptSnapshot(
  options: TakeSnapshotOptions,
  acceptSchemaChange: boolean,
  signal: AbortSignal,
): Promise<FinishedSnapshot | 'schema changed' | 'WAL was restarted unseen'> {
  const { database, client, clock, logger, generation } = options
  const startTimeMs = clock.now()
  const started = clock.monotonic()
  const before = await options.barrier()
  if (before.generation !== generation) throw new GenerationEndedError()
  if (before.isWithinWal) {
    throw new DatabaseError('the WAL is too long for a snapshot until all of it is copied back', {
      hint: 'a read transaction of the application that goes on for long may be what keeps it from that',
    })
  }
  // Behind the last commit of a WAL that is about to restart this is one index early, which only replays more.
  const index = before.position.index
  const ref = { kind: 'snapshot', generation, index } as const
  logger.info({ position: formatPosition({ generation, ...before.position }) }, 'write snapshot')
  await using upload = await client.startUpload(
    ref,
    { expectedBytes: await database.fileSizeBytes(signal) },
    signal,
  )
  const writer = new ObjectWriter(upload)
  await using digests = options.digests(before.position)
  const body = await sendBody(options, { writer, digests }, signal)
  const after = await options.barrier()
  if (after.generation !== generation) throw new GenerationEndedError()
  // A page that was changed unseen and changed back is in the body as it was in between, and in no frame.
  if (after.breaks !== before.breaks) return 'WAL was restarted unseen'
  await digests?.keep(after.position)
  if (after.schemaCookie !== before.schemaCookie) {
    if (!acceptSchemaChange) return 'schema changed'
    logger.warn(
      {},
      'the schema keeps changing: tsreplicate can restore this snapshot, but Litestream may refuse it',
    )
  }
  const consistentFrom = after.position
  const trailer = formatTrailer({
    kind: 'snapshot',
    generation,
    index,
    consistentFrom,
    pageSizeBytes: options.pageSizeBytes,
    pageCount: Math.floor(body.readBytes / options.pageSizeBytes),
    startTimeMs,
    endTimeMs: Math.max(clock.now(), startTimeMs),
    commitTimeMs: after.commitTimeMs,
    lineage: options.lineage,
  })
  const sentBytes = body.sentBytes + trailer.length
  await writer.write(trailer)
  await writer.end()
  await options.storedUpTo(consistentFrom, signal)
  await writer.finish()
  logger.info(
    {
      position: formatPosition({ generation, ...consistentFrom }),
      elapsed: `${Math.round(clock.monotonic() - started)}ms`,
      sz: sentBytes,
    },
    'snapshot written',
  )
  return { index, consistentFrom, storedBytes: upload.storedBytes(sentBytes) }
}

async function sendBody(
  options: TakeSnapshotOptions,
  to: { readonly writer: ObjectWriter; readonly digests: SnapshotDigests | undefined },
  signal: AbortSignal,
): Promise<{ readBytes: number; sentBytes: number }> {
  const encoder = options.compressor.startFrame()
  let readBytes = 0
  let sentBytes = 0
  const send = async (bytes: Uint8Array): Promise<void> => {
    sentBytes += bytes.length
    await to.writer.write(bytes)
  }
  await send(encoder.header())
  for await (const chunk of options.database.readFile(signal)) {
    for (let at = 0; at < chunk.length; at += maxBlockBytes) {
      await send(encoder.block(chunk.subarray(at, at + maxBlockBytes)))
    }
    await to.digests?.add(chunk)
    readBytes += chunk.length
    await options.letOthers()
  }
  await send(encoder.end())
  return { readBytes, sentBytes }
}

/** Whether `position` has reached `wanted`. */
export function hasReached(position: WalPosition | undefined, wanted: WalPosition): boolean {
  if (wanted.index === 0 && wanted.offset === 0) return true
  return position !== undefined && comparePositions(position, wanted) >= 0
}
