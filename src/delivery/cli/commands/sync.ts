import { expandPath } from '../../../compose/commands.js'
import { formatPosition } from '../../../domain/wal/position.js'
import { type Stored } from '../../../usecase/daemon/commit-waits.js'
import { parseSyncAnswer } from '../../daemon/answers.js'
import { defaultSyncTimeoutMs, type SyncRequest } from '../../daemon/sync-request.js'
import { exitCodes } from '../../exit-codes.js'
import { askToStore } from '../ask-to-store.js'
import { defineCommand } from '../command.js'
import { jsonFlag } from '../flags.js'
import { daemonFlags } from '../daemon-flags.js'
import { print, printJson } from '../output.js'
import { formatTable, formatTime } from '../table.js'
import { parseTimeoutFlag } from '../timeout-flag.js'

export const sync = defineCommand({
  name: 'sync',
  summary: 'has the running daemon store everything that is committed',
  about:
    'Asks the running daemon to store everything that is committed now, of one database or of all. With `-wait` it ends when that is stored, and its exit code says so. Without `-wait` it ends when all is captured and on its way. All are also those that have just been made in a folder (`dir`); what is in a folder that cannot be read is not stored, and where there is no database at all, that is an error. It finds the daemon as `status` does.',
  example: 'tsreplicate sync -wait -now /data/app.db',
  exampleEnd: 'notRunning',
  arguments: [{ name: 'database', description: 'only this database' }],
  flags: {
    wait: { description: 'wait until it is stored' },
    now: {
      description:
        'with -wait, store it at once; without, it is stored with the next sync-interval',
    },
    replica: { value: 'name', description: 'only on this replica; else on all of the database' },
    timeout: { value: 'duration', description: 'how long that may take', default: '30s' },
    ...daemonFlags,
    ...jsonFlag,
  },
  exitCodes: {
    done: 'with `-wait`, everything that was committed before is stored',
    notStored:
      'not everything was stored in time, or the daemon hangs; stderr says what is missing where',
    notRunning: 'no daemon runs',
  },
  async run([database], flags, { signal }) {
    const path = database === undefined ? undefined : await expandPath(database)
    const timeoutMs = parseTimeoutFlag('timeout', flags.timeout) ?? defaultSyncTimeoutMs
    const body: SyncRequest = {
      database: path,
      replicas: flags.replica === undefined ? 'all' : [flags.replica],
      urgency: flags.now || !flags.wait ? 'now' : 'ride',
      timeoutMs,
      waits: flags.wait,
    }
    const stored = parseSyncAnswer(await askToStore('/api/sync', body, flags, signal))
    if (flags.json) printJson({ isStored: flags.wait, databases: stored })
    else print(formatStored(stored))
    return exitCodes.done.code
  },
})

function formatStored(databases: readonly Stored[]): string {
  const rows = databases.flatMap(({ database, position, replicas }) => {
    const cells = [database, formatPosition(position)]
    if (replicas.length === 0) return [[...cells, '-', '-']]
    return replicas.map(({ name, storedAtMs }) => [...cells, name, formatTime(storedAtMs)])
  })
  return formatTable(['database', 'position', 'replica', 'stored'], rows)
}
