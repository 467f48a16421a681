import { expandPath, findConfigFile, loadConfig } from '../../../compose/commands.js'
import { ConfigError, NotRunningError } from '../../../domain/errors.js'
import { formatWalPosition } from '../../../domain/wal/position.js'
import { isAbortError } from '../../../kit/abort.js'
import { http } from '../../../kit/node-http.js'
import { formatBytes } from '../../../kit/quantity.js'
import { type DaemonStatus, type Failure, type ReplicaStatus } from '../../../domain/status.js'
import { type DaemonSubject, statusSocket } from '../../daemon/status-socket.js'
import { defineCommand } from '../command.js'
import { type ConfigFlags, configFlags, jsonFlag } from '../flags.js'
import { formatLag, formatTable, formatTime } from '../table.js'
import { print, printJson } from '../output.js'
import { exitCodes } from '../../exit-codes.js'

const timeoutMs = 10_000

export const status = defineCommand({
  name: 'status',
  summary: 'asks the running daemon what it is doing',
  about:
    'Asks the daemon what it is doing, and whether every commit is stored. It asks the daemon of the configuration or, with a database, the one that was started with that database and URLs. One in another container is asked by a socket file.',
  example: 'tsreplicate status /data/app.db',
  exampleEnd: 'notRunning',
  arguments: [{ name: 'database', description: 'only this database' }],
  flags: {
    socket: { value: 'path', description: 'ask the daemon that has made this socket file' },
    ...configFlags,
    ...jsonFlag,
  },
  exitCodes: {
    failed: 'the daemon is not ready: not every commit is stored in time',
    notRunning: 'no daemon answers',
  },
  async run([database], flags, { signal }) {
    const path = database === undefined ? undefined : await expandPath(database)
    const text =
      flags.socket === undefined
        ? await ask(await possibleDaemons(path, flags), signal)
        : await ask([{ socket: await expandPath(flags.socket) }], signal)
    const whole = parseStatus(text)
    const shown = path === undefined ? whole : onlyDatabase(whole, path)
    if (flags.json) printJson(shown)
    else print(formatStatus(shown))
    return shown.notReady.length === 0 ? exitCodes.done.code : exitCodes.failed.code
  },
})

/** The daemon of the configuration, and the one that was started with the database alone. */
async function possibleDaemons(
  path: string | undefined,
  flags: ConfigFlags,
): Promise<readonly DaemonSubject[]> {
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

/** The answer of the first that answers. */
async function ask(subjects: readonly DaemonSubject[], signal: AbortSignal): Promise<string> {
  for (const subject of subjects) {
    const text = await fetchStatus(subject, signal)
    if (text !== undefined) return text
  }
  const names = subjects.map((subject) => {
    if ('socket' in subject) return `at ${subject.socket}`
    return 'config' in subject ? `with ${subject.config}` : `for ${subject.database} alone`
  })
  throw new NotRunningError(`no daemon is running ${names.join(' or ')}`, {
    hint: 'start it with `tsreplicate replicate`; for one in another container, run this command there, or give both -socket',
  })
}

/** Undefined: nobody answers there. */
function fetchStatus(subject: DaemonSubject, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const { path: socketPath } = statusSocket(subject)
    const asked = http.request({ socketPath, path: '/api/status', signal, timeout: timeoutMs })
    asked.on('timeout', () => {
      asked.destroy(
        new NotRunningError(`the daemon does not answer within ${timeoutMs / 1000} s`, {
          hint: 'it may hang: look at its log',
        }),
      )
    })
    asked.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined)
      else if (isAbortError(error) || error instanceof NotRunningError) reject(error)
      else {
        const message = `the daemon cannot be asked at ${socketPath}: ${error.message}`
        const hint = 'a socket file is for the user of the daemon, if it has no other permissions'
        reject(new NotRunningError(message, { cause: error, hint }))
      }
    })
    asked.on('response', (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () => resolve(text))
      response.on('error', reject)
    })
    asked.end()
  })
}

/** The daemon and this command are of one installation: the form is not looked at. */
function parseStatus(text: string): DaemonStatus {
  return JSON.parse(text) as DaemonStatus
}

function onlyDatabase(status: DaemonStatus, path: string): DaemonStatus {
  const databases = status.databases.filter((database) => database.path === path)
  if (databases.length === 0) {
    throw new ConfigError(`database not replicated by the daemon: ${path}`, {
      hint: `It replicates: ${status.databases.map((each) => each.path).join(', ') || 'none'}`,
    })
  }
  return {
    ...status,
    databases,
    notReady: status.notReady.filter(({ database }) => database === path),
  }
}

function formatStatus(status: DaemonStatus): string {
  const { version, pid, startedAtMs, notReady, databases } = status
  const upMs = Math.max(0, Math.floor((Date.now() - startedAtMs) / 1000) * 1000)
  const state = notReady.length === 0 ? 'ready' : 'NOT READY'
  const head = `tsreplicate ${version}, process ${pid}, up ${formatLag(upMs)}, ${state}\n`
  const complaints = notReady
    .map(({ database, replica, reason }) => `${database} ${replica ?? ''}: ${reason}\n`)
    .join('')
  const databaseRows = databases.map((database) => [
    database.path,
    database.state,
    database.position?.generation ?? '-',
    database.position === undefined ? '-' : formatWalPosition(database.position),
    sizeText(database.pageSizeBytes),
    sizeText(database.databaseBytes),
    sizeText(database.walBytes),
    sizeText(database.spoolBytes),
    failureText(database.lastFailure),
  ])
  const replicaRows = databases.flatMap((database) =>
    database.replicas.map((replica) => [database.path, ...replicaCells(replica)]),
  )
  return [
    head,
    complaints,
    '\n',
    formatTable(databaseColumns, databaseRows),
    '\n',
    formatTable(replicaColumns, replicaRows),
  ].join('')
}

const databaseColumns = [
  'database',
  'state',
  'generation',
  'position',
  'page size',
  'size',
  'wal',
  'spool',
  'last error',
]

const replicaColumns = [
  'database',
  'replica',
  'stored',
  'lag',
  'confirmed lag',
  'pending',
  'last snapshot',
  'last retention',
  'last validated',
  'last error',
]

function replicaCells(replica: ReplicaStatus): readonly string[] {
  return [
    replica.name,
    replica.position === undefined ? '-' : formatWalPosition(replica.position),
    formatLag(replica.lagMs),
    formatLag(replica.confirmedLagMs),
    sizeText(replica.pendingBytes),
    timeText(replica.lastSnapshotAtMs),
    timeText(replica.lastRetentionAtMs),
    timeText(replica.lastValidatedAtMs),
    replica.refusal ?? failureText(replica.lastFailure),
  ]
}

function sizeText(bytes: number | undefined): string {
  return bytes === undefined ? '-' : formatBytes(bytes)
}

function timeText(timeMs: number | undefined): string {
  return timeMs === undefined ? '-' : formatTime(timeMs)
}

function failureText(failure: Failure | undefined): string {
  if (failure === undefined) return '-'
  return `${formatTime(failure.atMs)}${failure.isOver ? ' (over)' : ''} ${failure.message}`
}
