import { stat } from 'node:fs/promises'

import { listDatabases } from '../../../compose/commands.js'
import { UsageError } from '../../../domain/errors.js'
import { parseGeneration } from '../../../domain/wal/generation.js'
import { isAbortError } from '../../../kit/abort.js'
import {
  listGenerations,
  listSnapshots,
  listWalSegments,
} from '../../../usecase/stored/list-backups.js'
import { type RestoreSource } from '../../../usecase/restore/restore-types.js'
import { type CommonFlags, nameSubject, openSubject, readConfig, type Subject } from '../context.js'
import { formatLag, formatTable, formatTime } from '../table.js'
import { print, printJson } from '../output.js'
import { exitCodes } from '../../exit-codes.js'

/** A folder that cannot be read is logged, makes the exit code 1, and does not hide the rest. */
export async function databases(flags: CommonFlags): Promise<number> {
  const { config, logger } = await readConfig(flags)
  for (const warning of config.warnings) logger.warn({ config: config.source }, warning)
  const { databases: listed, unreadable } = await listDatabases(config)
  for (const folder of unreadable) logger.error(folder, 'folder cannot be read')
  const rows = listed.map(({ path, replicas }) => ({
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
  return unreadable.length === 0 ? exitCodes.done.code : exitCodes.failed.code
}

export async function generations(
  positional: string | undefined,
  flags: CommonFlags,
  signal: AbortSignal,
): Promise<number> {
  return show(await openFor(positional, flags), flags, {
    complaint: 'cannot list generations',
    list: async ({ name, client }, { databasePath }) => {
      const referenceMs = await lastChangeMs(databasePath)
      const found = await listGenerations(client, signal)
      return found.map(({ generation, startMs, endMs }) => ({
        name,
        generation,
        // A file's time and a store's are of two clocks: nothing is stored before it is committed.
        lagMs: endMs === undefined ? null : Math.max(0, Math.round(referenceMs - endMs)),
        start: startMs === undefined ? null : formatTime(startMs),
        end: endMs === undefined ? null : formatTime(endMs),
      }))
    },
    columns: {
      name: ({ name }) => name,
      generation: ({ generation }) => generation,
      lag: ({ lagMs }) => (lagMs === null ? emptyLag : formatLag(lagMs)),
      start: ({ start }) => start ?? emptyTime,
      end: ({ end }) => end ?? emptyTime,
    },
  })
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
  return show(await openFor(positional, flags, 'database path required'), flags, {
    complaint: 'cannot determine snapshots',
    list: async ({ name, client }) => {
      const found = await listSnapshots(client, signal)
      return found.map(({ generation, index, sizeBytes, createdAtMs }) => ({
        replica: name,
        generation,
        index,
        size: sizeBytes,
        created: formatTime(createdAtMs),
      }))
    },
    columns: {
      replica: ({ replica }) => replica,
      generation: ({ generation }) => generation,
      index: ({ index }) => String(index),
      size: ({ size }) => String(size),
      created: ({ created }) => created,
    },
  })
}

export interface WalFlags extends CommonFlags {
  readonly generation?: string
}

export async function wal(
  positional: string | undefined,
  flags: WalFlags,
  signal: AbortSignal,
): Promise<number> {
  const only = flags.generation === undefined ? undefined : parseGeneration(flags.generation)
  if (flags.generation !== undefined && only === undefined) {
    throw new UsageError(`not a generation: ${flags.generation}`)
  }
  return show(await openFor(positional, flags, 'database path required'), flags, {
    complaint: 'cannot fetch wal segments',
    list: async ({ name, client }) => {
      const found = await listWalSegments(client, only, signal)
      return found.map(({ generation, index, offset, sizeBytes, createdAtMs }) => ({
        replica: name,
        generation,
        index,
        offset,
        size: sizeBytes,
        created: formatTime(createdAtMs),
      }))
    },
    columns: {
      replica: ({ replica }) => replica,
      generation: ({ generation }) => generation,
      index: ({ index }) => String(index),
      offset: ({ offset }) => String(offset),
      size: ({ size }) => String(size),
      created: ({ created }) => created,
    },
  })
}

async function openFor(
  positional: string | undefined,
  flags: CommonFlags,
  required?: string,
): Promise<Subject> {
  return openSubject(await nameSubject(positional, flags, required), flags)
}

/** What a command lists of each replica. A row is printed as it is with `--json`, else by its columns. */
interface Listing<Row> {
  /** Logged of a replica that cannot be listed. */
  readonly complaint: string
  readonly list: (source: RestoreSource, subject: Subject) => Promise<Row[]>
  readonly columns: Readonly<Record<string, (row: Row) => string>>
}

/** Asks every replica; one that fails is logged, makes the exit code 1, and does not hide the others. */
async function show<Row>(
  subject: Subject,
  flags: CommonFlags,
  { complaint, list, columns }: Listing<Row>,
): Promise<number> {
  const rows: Row[] = []
  let exitCode: number = exitCodes.done.code
  for (const source of subject.sources) {
    try {
      for (const row of await list(source, subject)) rows.push(row)
    } catch (err) {
      if (isAbortError(err)) throw err
      subject.logger.error({ db: subject.databasePath, replica: source.name, err }, complaint)
      exitCode = exitCodes.failed.code
    }
  }
  if (flags.json === true) printJson(rows)
  else {
    const cells = Object.values(columns)
    const table = rows.map((row) => cells.map((cell) => cell(row)))
    print(formatTable(Object.keys(columns), table))
  }
  return exitCode
}
