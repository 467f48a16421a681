/** Paths of a database, the oracle of its writer, its replica and what is restored from that, in a folder of their own. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Running, start, temporaryFolder, writeConfig } from './cli.ts'

export interface Scene {
  readonly folder: string
  readonly db: string
  readonly oracle: string
  readonly replica: string
  /** The path of an output. */
  readonly out: (name: string) => string
}

/** `cleanUp` removes the folder. */
export function scene(): Scene {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'out'))
  return {
    folder,
    db: join(folder, 'app.db'),
    oracle: join(folder, 'oracle'),
    replica: join(folder, 'replica'),
    out: (name) => join(folder, 'out', name),
  }
}

/** Starts to replicate, with these settings of the database. */
export function startReplicating(
  { folder, db, replica }: Pick<Scene, 'folder' | 'db' | 'replica'>,
  settings: Readonly<Record<string, unknown>> = {},
): Running {
  const config = writeConfig(folder, { path: db, replicas: [replica], ...settings })
  return start('replicate', '-config', config)
}
