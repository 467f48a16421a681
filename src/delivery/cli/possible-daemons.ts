/** Which daemon a command asks that is about a running one. */
import { expandPath, findConfigFile, loadConfig } from '../../compose/commands.js'
import { ConfigError } from '../../domain/errors.js'
import { type DaemonSubject } from '../daemon/status-socket.js'
import { type ConfigFlags, configFlags } from './flags.js'

/** Which daemon a command asks. */
export const daemonFlags = {
  socket: { value: 'path', description: 'ask the daemon that has made this socket file' },
  ...configFlags,
} as const

/** How long a daemon may take to answer beyond what it was asked to wait. */
export const answerMs = 5000

type DaemonFlags = ConfigFlags & { readonly socket: string | undefined }

/** The daemon of the configuration, and the one that was started with the database alone. */
export async function possibleDaemons(
  path: string | undefined,
  flags: DaemonFlags,
): Promise<readonly DaemonSubject[]> {
  if (flags.socket !== undefined) return [{ socket: await expandPath(flags.socket) }]
  const subjects: DaemonSubject[] = []
  try {
    const file = await findConfigFile(flags.config)
    subjects.push({ config: file }, ...(await socketOf(file, flags)))
  } catch (error) {
    if (!(error instanceof ConfigError) || path === undefined || flags.config !== undefined) {
      throw error
    }
  }
  if (path !== undefined && flags.config === undefined) subjects.push({ database: path })
  return subjects
}

/** The socket file that the configuration names. What else is wrong in it is no matter here. */
async function socketOf(path: string, flags: ConfigFlags): Promise<readonly DaemonSubject[]> {
  try {
    const { socket } = await loadConfig({ path, expandEnv: !flags.noExpandEnv })
    return socket === undefined ? [] : [{ socket: socket.path }]
  } catch (error) {
    if (error instanceof ConfigError) return []
    throw error
  }
}
