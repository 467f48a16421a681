import { type CliCommand } from './command.js'
import { databases } from './commands/databases.js'
import { generations } from './commands/generations.js'
import { replicate } from './commands/replicate.js'
import { restore } from './commands/restore.js'
import { retention } from './commands/retention.js'
import { snapshots } from './commands/snapshots.js'
import { status } from './commands/status.js'
import { verify } from './commands/verify.js'
import { version } from './commands/version.js'
import { wal } from './commands/wal.js'

/** Every command, in the order in which help lists them. Another one is a file in `commands/` and a line here. */
export const commands: readonly CliCommand[] = [
  replicate,
  restore,
  databases,
  generations,
  snapshots,
  wal,
  retention,
  status,
  verify,
  version,
]
