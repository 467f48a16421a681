/** What a first configuration is made with. */
import { readFileSync } from 'node:fs'
import { type ReplicaTarget } from '../domain/settings/config.js'
import { openStore } from './adapters.js'
import { configContext } from './commands.js'
import { packageFile } from './package-file.js'
import { type NewDatabase, newConfig, variablesOf } from '../infrastructure/config/new-config.js'
import { createFiles, refuseExisting } from '../infrastructure/files/new-files.js'
import { lookAtDatabase, SystemFinder } from '../infrastructure/finder/system-finder.js'
import { findDatabases as find, type FoundDatabase } from '../usecase/setup/find-databases.js'

export { createFiles, lookAtDatabase, type NewDatabase, refuseExisting, variablesOf }

/** The databases in use here, as far as can be seen. */
export function findDatabases(signal: AbortSignal): Promise<readonly FoundDatabase[]> {
  const folder = process.cwd()
  return find(new SystemFinder(folder, process.env), folder, signal)
}

/** The text of a configuration that is to be at this path. Throws {@link ConfigError} if it would be wrong. */
export function newConfigText(databases: readonly NewDatabase[], path: string): string {
  return newConfig(databases, { path, context: configContext() })
}

/** How many generations a replica holds. Asked once only: somebody waits for what is wrong with it. */
export async function countGenerations(
  target: ReplicaTarget,
  signal: AbortSignal,
): Promise<number> {
  const client = await openStore(target)
  return (await Array.fromAsync(client.listGenerations(signal))).length
}

/** The unit of systemd for a daemon with this configuration. */
export function unitText(configPath: string): string {
  const unit = readFileSync(packageFile('systemd/tsreplicate.service'), 'utf8')
  const written = configPath
    .replaceAll('%', '%%')
    .replaceAll('$', () => '$$')
    .replaceAll(/["\\]/g, String.raw`\$&`)
  const word = /[^\w./%$-]/.test(written) ? `"${written}"` : written
  return unit.replaceAll('/etc/tsreplicate.yml', () => word)
}
