/** Which daemons may be meant by whoever asks about a running one. */
import { expandPath, findConfigFile, loadConfig } from '../../compose/commands.js'
import { ConfigError } from '../../domain/errors.js'
import { type DaemonSubject } from './status-socket.js'

/** What names a daemon besides a database. */
export interface DaemonNames {
  /** The configuration file; undefined: where one is looked for. */
  readonly config: string | undefined
  /** The socket file that it was told to make. */
  readonly socket: string | undefined
  readonly noExpandEnv: boolean
}

/** The daemon of the configuration, and the one that was started with the database alone. */
export async function possibleDaemons(
  database: string | undefined,
  names: DaemonNames,
): Promise<readonly DaemonSubject[]> {
  if (names.socket !== undefined) return [{ socket: await expandPath(names.socket) }]
  const subjects: DaemonSubject[] = []
  try {
    const file = await findConfigFile(names.config)
    subjects.push({ config: file }, ...(await socketOf(file, names)))
  } catch (error) {
    if (!(error instanceof ConfigError) || database === undefined || names.config !== undefined) {
      throw error
    }
  }
  if (database !== undefined && names.config === undefined) subjects.push({ database })
  return subjects
}

/** The socket file that the configuration names. What else is wrong in it is no matter here. */
async function socketOf(
  path: string,
  { noExpandEnv }: DaemonNames,
): Promise<readonly DaemonSubject[]> {
  try {
    const { socket } = await loadConfig({ path, expandEnv: !noExpandEnv })
    return socket === undefined ? [] : [{ socket: socket.path }]
  } catch (error) {
    if (error instanceof ConfigError) return []
    throw error
  }
}
