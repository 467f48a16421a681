/** The one place that knows which adapter stands behind which port. Adapters are loaded when they are needed. */
import { stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname } from 'node:path'

import { type Config, type LoggingConfig, type ReplicaTarget } from './domain/config.js'
import { type Logger } from './usecase/ports/logger.js'
import { type ReplicaClient } from './usecase/ports/replica-client.js'
import { type Replication } from './usecase/replicate.js'
import {
  type RestoreProgress,
  type RestoreReport,
  type RestoreRequest,
} from './usecase/restore-types.js'

export interface LoadOptions {
  /** The file; undefined: the default places. */
  readonly path?: string | undefined
  readonly expandEnv: boolean
  readonly env?: Readonly<Record<string, string | undefined>>
}

function pathContext(): { home: string; cwd: string } {
  return { home: homedir(), cwd: process.cwd() }
}

/** Reads and validates a configuration file. */
export async function loadConfig(options: LoadOptions): Promise<Config> {
  const { loadConfig: load } = await import('./infrastructure/config/config-file.js')
  return load({ env: process.env, ...options, ...pathContext() })
}

/** The configuration of a database and the URLs of its replicas, with defaults. */
export async function configFromUrls(
  databasePath: string,
  urls: readonly string[],
): Promise<Config> {
  const { configFromUrls: make } = await import('./infrastructure/config/config-file.js')
  return make(databasePath, urls, pathContext())
}

/** Where a replica's URL points. */
export async function parseReplicaUrl(url: string): Promise<ReplicaTarget> {
  const { parseReplicaUrl: parse } = await import('./infrastructure/config/replica-url.js')
  return parse(url)
}

/** A path as the user writes it, made absolute. */
export async function expandPath(path: string): Promise<string> {
  const { expandPath: expand } = await import('./infrastructure/config/paths.js')
  return expand(path, pathContext())
}

/** The log. `stderr` decides where it goes. */
export async function createLogger(config: LoggingConfig): Promise<Logger> {
  const { createPinoLogger } = await import('./infrastructure/logging/pino-logger.js')
  return createPinoLogger({
    level: config.level,
    type: config.type,
    destination: config.stderr ? 2 : 1,
  })
}

/** The client of a replica. What it creates is given the owner and modes of `ownerOf`, a database. */
export async function openReplicaClient(
  target: ReplicaTarget,
  options: { readonly ownerOf?: string } = {},
): Promise<ReplicaClient> {
  const { FileReplicaClient } =
    await import('./infrastructure/replica-clients/file/file-replica-client.js')
  const owner = options.ownerOf === undefined ? undefined : await ownerOf(options.ownerOf)
  return new FileReplicaClient({ path: target.path, owner })
}

async function ownerOf(
  databasePath: string,
): Promise<{ fileMode: number; directoryMode: number; uid: number; gid: number } | undefined> {
  try {
    const database = await stat(databasePath)
    const folder = await stat(dirname(databasePath))
    return {
      fileMode: database.mode & 0o777,
      directoryMode: folder.mode & 0o777,
      uid: database.uid,
      gid: database.gid,
    }
  } catch {
    return undefined
  }
}

/** Restores a database, or plans to. */
export async function restore(
  request: RestoreRequest,
  options: { readonly onProgress?: (progress: RestoreProgress) => void },
  signal: AbortSignal,
): Promise<RestoreReport> {
  throw new Error('restore is not wired yet')
}

/** Everything that replicates the databases of a configuration. */
export async function composeReplication(config: Config, logger: Logger): Promise<Replication> {
  const composed = await import('./compose-replication.js')
  return composed.composeReplication(config, logger)
}
