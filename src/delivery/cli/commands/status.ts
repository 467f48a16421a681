import { expandPath } from '../../../compose/commands.js'
import { formatWalPosition } from '../../../domain/wal/position.js'
import { formatBytes } from '../../../kit/quantity.js'
import { type DaemonStatus, type Failure, type ReplicaStatus } from '../../../domain/status.js'
import { defaultStatusTimeoutMs, readDaemonStatus } from '../../daemon/daemon-status.js'
import { possibleDaemons } from '../../daemon/possible-daemons.js'
import { defineCommand } from '../command.js'
import { jsonFlag } from '../flags.js'
import { daemonFlags } from '../daemon-flags.js'
import { formatLag, formatTable, formatTime } from '../table.js'
import { complain, print, printJson } from '../output.js'
import { exitCodes } from '../../exit-codes.js'

export const status = defineCommand({
  name: 'status',
  summary: 'asks the running daemon what it is doing',
  about:
    'Asks the daemon what it is doing, and whether every commit is stored. It asks the daemon of the configuration or, with a database, the one that was started with that database and URLs. One in another container is asked by a socket file.',
  example: 'tsreplicate status /data/app.db',
  exampleEnd: 'notRunning',
  arguments: [{ name: 'database', description: 'only this database' }],
  flags: {
    ...daemonFlags,
    ...jsonFlag,
  },
  exitCodes: {
    failed: 'the daemon is not ready: not every commit is stored in time',
    notRunning: 'no daemon answers',
  },
  async run([database], flags, { signal }) {
    const path = database === undefined ? undefined : await expandPath(database)
    const shown = await readDaemonStatus(
      await possibleDaemons(path, flags),
      { database: path, timeoutMs: defaultStatusTimeoutMs },
      signal,
    )
    if (shown.answeredBy !== undefined) complain(`answered by user ${shown.answeredBy}`)
    if (flags.json) printJson(shown)
    else print(formatStatus(shown))
    return shown.notReady.length === 0 ? exitCodes.done.code : exitCodes.failed.code
  },
})

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
