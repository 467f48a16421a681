import { expandPath } from '../../../compose/commands.js'
import { formatIndex } from '../../../domain/wal/position.js'
import { type StoredWithSnapshot } from '../../../usecase/daemon/commit-waits.js'
import { parseSnapshotAnswer } from '../../daemon/answers.js'
import { defaultSnapshotTimeoutMs, type SnapshotOfRequest } from '../../daemon/sync-request.js'
import { exitCodes } from '../../exit-codes.js'
import { askToStore } from '../ask-to-store.js'
import { defineCommand } from '../command.js'
import { jsonFlag } from '../flags.js'
import { daemonFlags } from '../daemon-flags.js'
import { print, printJson } from '../output.js'
import { formatTable, formatTime } from '../table.js'
import { parseTimeoutFlag } from '../timeout-flag.js'

export const snapshot = defineCommand({
  name: 'snapshot',
  summary: 'has the running daemon take a snapshot',
  about:
    'Asks the running daemon for a snapshot now, of one database or of all, on each replica, and waits until it is stored with everything that was committed before: a restore then reads no WAL of before. A replica whose newest snapshot is of the WAL that still goes on keeps that one, for another would save nothing; WALs begin anew with checkpoints. It finds the daemon as `status` does.',
  example: 'tsreplicate snapshot /data/app.db',
  exampleEnd: 'notRunning',
  arguments: [{ name: 'database', description: 'only this database' }],
  flags: {
    replica: { value: 'name', description: 'only on this replica; else on all of the database' },
    timeout: {
      value: 'duration',
      description: 'how long to wait; it is taken even if that is over',
      default: '1h',
    },
    ...daemonFlags,
    ...jsonFlag,
  },
  exitCodes: {
    done: 'the snapshots are stored',
    notStored:
      'not all snapshots were stored in time, or the daemon hangs; stderr says what is missing where',
    notRunning: 'no daemon runs',
  },
  async run([database], flags, { signal }) {
    const path = database === undefined ? undefined : await expandPath(database)
    const timeoutMs = parseTimeoutFlag('timeout', flags.timeout) ?? defaultSnapshotTimeoutMs
    const body: SnapshotOfRequest = {
      database: path,
      replicas: flags.replica === undefined ? 'all' : [flags.replica],
      timeoutMs,
    }
    const stored = parseSnapshotAnswer(await askToStore('/api/snapshot', body, flags, signal))
    if (flags.json) printJson({ databases: stored })
    else print(formatSnapshots(stored))
    return exitCodes.done.code
  },
})

function formatSnapshots(databases: readonly StoredWithSnapshot[]): string {
  const rows = databases.flatMap(({ database, position: { generation }, replicas }) =>
    replicas.map(({ name, snapshot: { index, takenAtMs } }) => [
      ...[database, name, generation, formatIndex(index), formatTime(takenAtMs)],
    ]),
  )
  return formatTable(['database', 'replica', 'generation', 'index', 'taken'], rows)
}
