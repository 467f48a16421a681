import { type CliCommand } from './command.js'

/** Every command by its name, in the order in which help lists them. Another one is a file in `commands/` and a line here. */
const loaders = {
  init: async () => (await import('./commands/init.js')).init,
  replicate: async () => (await import('./commands/replicate.js')).replicate,
  restore: async () => (await import('./commands/restore.js')).restore,
  databases: async () => (await import('./commands/databases.js')).databases,
  generations: async () => (await import('./commands/generations.js')).generations,
  snapshots: async () => (await import('./commands/snapshots.js')).snapshots,
  wal: async () => (await import('./commands/wal.js')).wal,
  retention: async () => (await import('./commands/retention.js')).retention,
  status: async () => (await import('./commands/status.js')).status,
  snapshot: async () => (await import('./commands/snapshot.js')).snapshot,
  sync: async () => (await import('./commands/sync.js')).sync,
  verify: async () => (await import('./commands/verify.js')).verify,
  version: async () => (await import('./commands/version.js')).version,
} satisfies Readonly<Record<string, () => Promise<CliCommand>>>

/** The command of this name alone, so that nothing is loaded that only others need; all of them if there is none. */
export function loadCommands(name?: string): Promise<readonly CliCommand[]> {
  const all = Object.entries(loaders)
  const named = all.filter(([each]) => each === name)
  return Promise.all((named.length === 0 ? all : named).map(([, load]) => load()))
}
