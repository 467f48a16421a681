import { stat } from 'node:fs/promises'

import { isAbortError, UsageError } from '../../../domain/errors.js'
import { parseGeneration } from '../../../domain/generation.js'
import { listGenerations, listSnapshots, listWalSegments } from '../../../usecase/list-backups.js'
import { type RestoreSource } from '../../../usecase/restore-types.js'
import {
  type CommonFlags,
  openSubject,
  print,
  printJson,
  readConfig,
  type Subject,
} from '../context.js'
import { formatLag, formatTable, formatTime } from '../table.js'

export async function databases(flags: CommonFlags): Promise<number> {
  const { config, logger } = await readConfig(flags)
  for (const warning of config.warnings) logger.warn({ config: config.source }, warning)
  const rows = config.databases.map(({ path, replicas }) => ({
    path,
    replicas: replicas.map(({ name }) => name),
  }))
  if (flags.json === true) printJson(rows)
  else
    print(
      formatTable(
        ['path', 'replicas'],
        rows.map((r) => [r.path, r.replicas.join(',')]),
      ),
    )
  return 0
}

export async function generations(
  positional: string | undefined,
  flags: CommonFlags,
  signal: AbortSignal,
): Promise<number> {
  if (positional === undefined) throw new UsageError('database path or replica URL required')
  const subject = await openSubject(positional, flags)
  const referenceMs = await lastChangeMs(subject.databasePath)
  const { rows, exitCode } = await collect(subject, 'cannot list generations', async (source) => {
    const found = await listGenerations(source.client, signal)
    return found.map(({ generation, startMs, endMs }) => ({
      name: source.name,
      generation,
      lagMs: endMs === undefined ? null : referenceMs - endMs,
      start: startMs === undefined ? null : formatTime(startMs),
      end: endMs === undefined ? null : formatTime(endMs),
    }))
  })
  if (flags.json === true) printJson(rows)
  else {
    const cells = rows.map((r) => [
      r.name,
      r.generation,
      r.lagMs === null ? emptyLag : formatLag(r.lagMs),
      r.start ?? emptyTime,
      r.end ?? emptyTime,
    ])
    print(formatTable(['name', 'generation', 'lag', 'start', 'end'], cells))
  }
  return exitCode
}

// What the original prints for a generation without objects.
const emptyLag = '2562047h47m16s'
const emptyTime = '0001-01-01T00:00:00Z'

/** When database or WAL last changed; without a database, now. */
async function lastChangeMs(databasePath: string | undefined): Promise<number> {
  if (databasePath === undefined) return Date.now()
  let newestMs = 0
  for (const path of [databasePath, `${databasePath}-wal`]) {
    try {
      newestMs = Math.max(newestMs, (await stat(path)).mtimeMs)
    } catch {
      // A database that is gone is when its backups are looked at most: the lag is then measured from now.
    }
  }
  return newestMs === 0 ? Date.now() : newestMs
}

export async function snapshots(
  positional: string | undefined,
  flags: CommonFlags,
  signal: AbortSignal,
): Promise<number> {
  if (positional === undefined) throw new UsageError('database path required')
  const subject = await openSubject(positional, flags)
  const { rows, exitCode } = await collect(
    subject,
    'cannot determine snapshots',
    async (source) => {
      const found = await listSnapshots(source.client, signal)
      return found.map(({ generation, index, sizeBytes, createdAtMs }) => ({
        replica: source.name,
        generation,
        index,
        size: sizeBytes,
        created: formatTime(createdAtMs),
      }))
    },
  )
  if (flags.json === true) printJson(rows)
  else {
    const cells = rows.map((r) => [
      r.replica,
      r.generation,
      String(r.index),
      String(r.size),
      r.created,
    ])
    print(formatTable(['replica', 'generation', 'index', 'size', 'created'], cells))
  }
  return exitCode
}

export interface WalFlags extends CommonFlags {
  readonly generation?: string
}

export async function wal(
  positional: string | undefined,
  flags: WalFlags,
  signal: AbortSignal,
): Promise<number> {
  if (positional === undefined) throw new UsageError('database path required')
  const only = flags.generation === undefined ? undefined : parseGeneration(flags.generation)
  if (flags.generation !== undefined && only === undefined) {
    throw new UsageError(`not a generation: ${flags.generation}`)
  }
  const subject = await openSubject(positional, flags)
  const { rows, exitCode } = await collect(subject, 'cannot fetch wal segments', async (source) => {
    const found = await listWalSegments(source.client, only, signal)
    return found.map(({ generation, index, offset, sizeBytes, createdAtMs }) => ({
      replica: source.name,
      generation,
      index,
      offset,
      size: sizeBytes,
      created: formatTime(createdAtMs),
    }))
  })
  if (flags.json === true) printJson(rows)
  else {
    const cells = rows.map((r) => [
      r.replica,
      r.generation,
      String(r.index),
      String(r.offset),
      String(r.size),
      r.created,
    ])
    print(formatTable(['replica', 'generation', 'index', 'offset', 'size', 'created'], cells))
  }
  return exitCode
}

/** Asks every replica; one that fails is logged, makes the exit code 1, and does not hide the others. */
async function collect<Row>(
  subject: Subject,
  complaint: string,
  list: (source: RestoreSource) => Promise<Row[]>,
): Promise<{ rows: Row[]; exitCode: number }> {
  const rows: Row[] = []
  let exitCode = 0
  for (const source of subject.sources) {
    try {
      for (const row of await list(source)) rows.push(row)
    } catch (err) {
      if (isAbortError(err)) throw err
      subject.logger.error({ db: subject.databasePath, replica: source.name, err }, complaint)
      exitCode = 1
    }
  }
  return { rows, exitCode }
}
