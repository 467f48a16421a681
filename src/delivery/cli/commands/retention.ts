import { createRetention, findOtherOwner } from '../../../compose/commands.js'
import { isAbortError } from '../../../kit/abort.js'
import { parseDuration } from '../../../kit/duration.js'
import { InUseError, UsageError } from '../../../domain/errors.js'
import { type Generation } from '../../../domain/wal/generation.js'
import { formatIndex } from '../../../domain/wal/position.js'
import { type RetentionPlan, type RetentionRules } from '../../../domain/policy/retention-policy.js'
import { type EnforceRetention } from '../../../usecase/retention/enforce-retention.js'
import { defineCommand, type FlagValues } from '../command.js'
import {
  configFlags,
  jsonFlag,
  replicaFlag,
  type SubjectFlags,
  subjectArguments,
} from '../flags.js'
import {
  findDatabase,
  isUrl,
  nameSubject,
  openReplicas,
  openSubject,
  readConfig,
} from '../context.js'
import { formatTable, formatTime } from '../table.js'
import { print, printJson } from '../output.js'
import { countOf } from '../../../kit/quantity.js'
import { exitCodes } from '../../exit-codes.js'

const keptOf = (period: string): string =>
  `for a URL: keep a snapshot of each of so many ${period} before that`

const rulesFlags = {
  retention: {
    value: 'duration',
    description: 'for a URL: how far back every commit can be restored (24h)',
  },
  keepHourly: { value: 'n', description: keptOf('hours') },
  keepDaily: { value: 'n', description: keptOf('days') },
  keepWeekly: { value: 'n', description: keptOf('weeks') },
  keepMonthly: { value: 'n', description: keptOf('months') },
} as const

type RetentionFlags = SubjectFlags & FlagValues<typeof rulesFlags>

interface Job {
  readonly replica: string
  /** Undefined: nothing is ever deleted. */
  readonly retention: EnforceRetention | undefined
  /** Throws when the replica is not ours to delete from. Absent: it is. */
  readonly checkOwner?: (signal: AbortSignal) => Promise<void>
}

export const retention = defineCommand({
  name: 'retention',
  summary: 'deletes what is no longer needed, and says why the rest is kept',
  about:
    'Deletes from the replicas what no restore needs any more, and says why the rest stays. The daemon does the same on its own. For a URL, flags say what has to stay; for a database of the configuration, its keys do.',
  example: 'tsreplicate retention -dry-run file:///backup/app',
  arguments: subjectArguments,
  flags: {
    ...configFlags,
    ...replicaFlag,
    ...jsonFlag,
    dryRun: { description: 'delete nothing' },
    ...rulesFlags,
  },
  printsWhatIsDone: true,
  run: async ([name], flags, { signal }) => {
    const subject = await nameSubject(name, flags)
    const { jobs, complain } = isUrl(subject)
      ? await jobsOfUrl(subject, flags)
      : await jobsOfDatabase(subject, flags)
    const results: Result[] = []
    let exitCode: number = exitCodes.done.code
    for (const { replica, retention: job, checkOwner } of jobs) {
      try {
        if (!flags.dryRun) await checkOwner?.(signal)
        const result = await runJob(replica, job, { dryRun: flags.dryRun, signal })
        if (result.failures.length > 0) exitCode = exitCodes.failed.code
        results.push(result)
      } catch (error) {
        if (isAbortError(error)) throw error
        complain(replica, error)
        exitCode = exitCodes.failed.code
      }
    }
    if (flags.json) printJson(results)
    else print(results.length === 0 ? '' : describe(results, flags.dryRun))
    return exitCode
  },
})

async function jobsOfUrl(
  url: string,
  flags: RetentionFlags,
): Promise<{ jobs: Job[]; complain: (replica: string, error: unknown) => void }> {
  const { sources, logger } = await openSubject(url, flags)
  const rules = rulesOf(flags)
  const jobs: Job[] = []
  for (const { name, client } of sources) {
    jobs.push({ replica: name, retention: await createRetention({ client, rules, logger }) })
  }
  return {
    jobs,
    complain: (replica, err) => {
      logger.error({ replica, err }, complaint)
    },
  }
}

async function jobsOfDatabase(
  path: string,
  flags: RetentionFlags,
): Promise<{ jobs: Job[]; complain: (replica: string, error: unknown) => void }> {
  const given = [flags.retention, flags.keepHourly, flags.keepDaily, flags.keepWeekly]
  if ([...given, flags.keepMonthly].some((flag) => flag !== undefined)) {
    throw new UsageError('-retention and -keep-… are for a replica URL', {
      hint: 'The configuration says what a database keeps.',
    })
  }
  const { config, logger } = await readConfig(flags)
  const database = await findDatabase(config, path)
  const jobs: Job[] = []
  for (const { name, client } of await openReplicas(database, flags)) {
    const rules = database.replicas.find((replica) => replica.name === name)?.retention
    const options = { client, rules, logger: logger.child({ db: database.path, replica: name }) }
    jobs.push({
      replica: name,
      checkOwner: (signal) => refuseOther({ client, database, replica: name }, signal),
      retention:
        rules === undefined
          ? undefined
          : await createRetention({
              ...options,
              rules,
              local: { database, replica: name },
            }),
    })
  }
  return {
    jobs,
    complain: (replica, err) => {
      logger.error({ db: database.path, replica, err }, complaint)
    },
  }
}

async function refuseOther(
  replica: Parameters<typeof findOtherOwner>[0],
  signal: AbortSignal,
): Promise<void> {
  const other = await findOtherOwner(replica, signal)
  if (other === undefined) return
  throw new InUseError(`${replica.client.location} belongs to ${other}`, {
    hint: 'run this command on that host, or give the replica as a URL',
  })
}

const complaint = 'retention failed, nothing was deleted'

function rulesOf(flags: RetentionFlags): RetentionRules {
  const retentionMs = parseDuration(flags.retention ?? '24h')
  if (retentionMs === undefined || retentionMs <= 0) {
    throw new UsageError(`invalid -retention: ${flags.retention ?? ''}`, {
      hint: 'Write for example 24h.',
    })
  }
  return {
    retentionMs,
    keep: {
      hourly: parseCount('hourly', flags.keepHourly),
      daily: parseCount('daily', flags.keepDaily),
      weekly: parseCount('weekly', flags.keepWeekly),
      monthly: parseCount('monthly', flags.keepMonthly),
    },
  }
}

function parseCount(name: string, text: string | undefined): number {
  if (text === undefined) return 0
  if (/^\d{1,6}$/.test(text)) return Number(text)
  throw new UsageError(`invalid -keep-${name}: ${text}`, {
    hint: 'Write a whole number, 0 or more, of at most six digits.',
  })
}

interface Result {
  readonly replica: string
  readonly retention: 'none' | 'enforced' | 'planned'
  readonly delete: readonly {
    readonly generation: Generation
    readonly snapshots: readonly number[]
    readonly segments: number
    readonly bytes: number
    readonly reason: string
  }[]
  readonly keep: readonly {
    readonly generation: Generation
    /** Null: the generation has no snapshot. */
    readonly snapshot: number | null
    readonly restorableFrom: string | null
    readonly reason: string
  }[]
  readonly failures: readonly string[]
}

async function runJob(
  replica: string,
  job: EnforceRetention | undefined,
  { dryRun, signal }: { dryRun: boolean; signal: AbortSignal },
): Promise<Result> {
  if (job === undefined) {
    return { replica, retention: 'none', delete: [], keep: [], failures: [] }
  }
  if (dryRun) {
    const plan = await job.plan(signal)
    return { replica, retention: 'planned', ...tell(plan), failures: [] }
  }
  const { plan, failures } = await job.enforce(signal)
  return { replica, retention: 'enforced', ...tell(plan), failures }
}

function tell({ deletions, kept }: RetentionPlan): Pick<Result, 'delete' | 'keep'> {
  return {
    delete: deletions.map(({ generation, snapshots, segments, reason }) => ({
      generation,
      snapshots: snapshots.map(({ index }) => index),
      segments: segments.length,
      bytes: [...snapshots, ...segments].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      reason,
    })),
    keep: kept.map(({ generation, snapshot, reason }) => ({
      generation,
      snapshot: snapshot?.index ?? null,
      restorableFrom: snapshot === undefined ? null : formatTime(snapshot.commitTimeMs),
      reason,
    })),
  }
}

function describe(results: readonly Result[], dryRun: boolean): string {
  const rows = results.flatMap((result): string[][] => [
    ...(result.retention === 'none'
      ? [[result.replica, 'keep', '', 'everything', '', 'retention is none']]
      : []),
    ...result.delete.map(({ generation, snapshots, segments, reason }) => [
      result.replica,
      dryRun ? 'would delete' : 'delete',
      generation,
      [
        ...(snapshots.length === 0 ? [] : [`snapshot ${snapshots.map(formatIndex).join(' ')}`]),
        ...(segments === 0 ? [] : [countOf(segments, 'WAL segment')]),
      ].join(', '),
      '',
      reason,
    ]),
    ...result.keep.map(({ generation, snapshot, restorableFrom, reason }) => [
      result.replica,
      'keep',
      generation,
      snapshot === null ? 'wal' : `snapshot ${formatIndex(snapshot)}`,
      restorableFrom ?? '',
      reason,
    ]),
  ])
  return formatTable(['replica', 'action', 'generation', 'what', 'from', 'reason'], rows)
}
