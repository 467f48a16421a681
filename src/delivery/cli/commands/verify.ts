import { expandPath, validate, verify as runVerify } from '../../../compose/commands.js'
import { type DatabaseConfig } from '../../../domain/settings/config.js'
import {
  CheckTimeoutError,
  CorruptionError,
  TsreplicateError,
  UsageError,
} from '../../../domain/errors.js'
import { formatPosition } from '../../../domain/wal/position.js'
import { countOf, formatBytes } from '../../../kit/quantity.js'
import { type Finding } from '../../../domain/stored/verification.js'
import { type RestoreSource } from '../../../usecase/restore/restore-types.js'
import { type Comparison, type ValidationReport } from '../../../usecase/verify/validate-replica.js'
import { type VerifiedGeneration } from '../../../usecase/verify/verify-replica.js'
import { defineCommand } from '../command.js'
import {
  findDatabase,
  isUrl,
  nameSubject,
  openReplicas,
  openSubject,
  readConfig,
} from '../context.js'
import {
  configFlags,
  jsonFlag,
  replicaFlag,
  type SubjectFlags,
  subjectArguments,
} from '../flags.js'
import { formatTable, formatTime } from '../table.js'
import { print, printJson } from '../output.js'
import { exitCodes } from '../../exit-codes.js'

const levels = ['structure', 'full', 'restore'] as const
type Level = (typeof levels)[number]

interface Result {
  readonly replica: string
  /** `timeout`: the restored copy could not be checked in time; `failed`: for another reason, it could not be found out. */
  readonly verdict: 'sound' | 'damaged' | 'timeout' | 'failed'
  readonly generations: readonly VerifiedGeneration[]
  readonly restored: ValidationReport | undefined
  /** Of the replica as a whole. */
  readonly problem: string | undefined
}

export const verify = defineCommand({
  name: 'verify',
  summary: 'verifies that what is stored can be restored',
  about:
    'Verifies that what is stored can be restored. `-level structure` lists objects and reads their ends: nothing is missing, doubled or misplaced. `full` reads every object and checks that each continues the one before it. `restore` also restores the newest commit, has SQLite check it, and compares it with the live database, if there is one.',
  example: 'tsreplicate verify file:///backup/app',
  arguments: subjectArguments,
  flags: {
    ...configFlags,
    ...replicaFlag,
    ...jsonFlag,
    level: {
      value: 'level',
      description: 'how much to check: structure, full or restore',
      default: 'full',
    },
    tempPath: { value: 'folder', description: 'where to put the restored copy' },
  },
  exitCodes: {
    damaged: 'an object is damaged or missing. The table names it, and the last commit before it',
  },
  // A replica that cannot be read does not hide the others.
  run: async ([name], flags, { signal }) => {
    const subject = await nameSubject(name, flags)
    const level = parseLevel(flags.level)
    const temporaryPath =
      flags.tempPath === undefined ? undefined : await expandPath(flags.tempPath)
    const { database, sources } = await openSources(subject, flags)
    const results: Result[] = []
    for (const source of sources) {
      results.push(await verifySource(source, { level, database, temporaryPath }, signal))
    }
    if (flags.json) printJson(results.map((result) => ({ level, ...forJson(result) })))
    else print(describe(results, level))
    if (results.some(({ verdict }) => verdict === 'damaged')) return exitCodes.damaged.code
    if (results.some(({ verdict }) => verdict === 'failed')) return exitCodes.failed.code
    const isLate = results.some(({ verdict }) => verdict === 'timeout')
    return isLate ? exitCodes.checkTimeout.code : exitCodes.done.code
  },
})

function parseLevel(text = 'full'): Level {
  const level = levels.find((known) => known === text)
  if (level !== undefined) return level
  throw new UsageError(`invalid -level: ${text}`, { hint: 'Write structure, full or restore.' })
}

async function openSources(
  subject: string,
  flags: SubjectFlags,
): Promise<{ database: DatabaseConfig | undefined; sources: readonly RestoreSource[] }> {
  if (isUrl(subject)) {
    const { sources } = await openSubject(subject, flags)
    return { database: undefined, sources }
  }
  const { config } = await readConfig(flags)
  const database = await findDatabase(config, subject)
  const sources = await openReplicas(database, flags)
  if (sources.length > 0) return { database, sources }
  throw new UsageError(`database has no replica: ${database.path}`)
}

async function verifySource(
  source: RestoreSource,
  options: {
    readonly level: Level
    readonly database: DatabaseConfig | undefined
    readonly temporaryPath: string | undefined
  },
  signal: AbortSignal,
): Promise<Result> {
  const { level, database, temporaryPath } = options
  const { name: replica, client } = source
  let generations: readonly VerifiedGeneration[] = []
  try {
    generations = await runVerify(
      { client, level: level === 'structure' ? 'structure' : 'full' },
      signal,
    )
    const newest = generations.at(-1)
    if (newest === undefined || newest.snapshots === 0) {
      const problem =
        newest === undefined
          ? 'nothing is stored there'
          : `the newest generation, ${newest.generation}, has no snapshot: nothing of it can be restored`
      const verdict = newest?.findings.some(isDamage) === true ? 'damaged' : 'failed'
      return { replica, verdict, generations, restored: undefined, problem }
    }
    const restored =
      level === 'restore' ? await validate({ source, database, temporaryPath }, signal) : undefined
    const verdict = isDamagedSomewhere(generations) ? 'damaged' : 'sound'
    return { replica, verdict, generations, restored, problem: undefined }
  } catch (error) {
    if (!(error instanceof TsreplicateError)) throw error
    const verdict = isDamagedSomewhere(generations) ? 'damaged' : verdictOf(error)
    const { message, hint } = error
    const problem = hint === undefined ? message : `${message} (hint: ${hint})`
    return { replica, verdict, generations, restored: undefined, problem }
  }
}

function isDamagedSomewhere(generations: readonly VerifiedGeneration[]): boolean {
  return generations.some(({ findings }) => findings.some(isDamage))
}

function verdictOf(error: TsreplicateError): Result['verdict'] {
  if (error instanceof CorruptionError) return 'damaged'
  return error instanceof CheckTimeoutError ? 'timeout' : 'failed'
}

function isDamage({ severity }: Finding): boolean {
  return severity === 'damage'
}

function forJson({ generations, restored, problem, ...result }: Result): object {
  return {
    ...result,
    problem: problem ?? null,
    generations: generations.map(({ firstCommitMs, lastCommitMs, end, ...rest }) => ({
      ...rest,
      firstCommit: isoTime(firstCommitMs),
      lastCommit: isoTime(lastCommitMs),
      end: end ?? null,
    })),
    restored:
      restored === undefined
        ? null
        : { ...restored, commitTimeMs: undefined, committed: isoTime(restored.commitTimeMs) },
  }
}

function isoTime(timeMs: number | undefined): string | null {
  return timeMs === undefined ? null : new Date(timeMs).toISOString()
}

function describe(results: readonly Result[], level: Level): string {
  const rows = results.flatMap(({ replica, generations }) =>
    generations.map((each) => [
      replica,
      each.generation,
      String(each.snapshots),
      String(each.segments),
      formatBytes(each.storedBytes),
      each.firstCommitMs === undefined ? '' : formatTime(each.firstCommitMs),
      each.lastCommitMs === undefined ? '' : formatTime(each.lastCommitMs),
      each.findings.some(isDamage) ? 'damaged' : each.findings.length > 0 ? 'see below' : 'sound',
    ]),
  )
  const header = [
    ...['replica', 'generation', 'snapshots', 'segments', 'size'],
    ...['first', 'last', 'result'],
  ]
  return [
    ...(rows.length === 0 ? [] : [formatTable(header, rows)]),
    ...results.flatMap(describeFindings),
    ...results.flatMap(describeNotes),
    ...results.map((result) => `${describeVerdict(result, level)}\n`),
  ].join('')
}

function describeFindings({ replica, generations }: Result): string[] {
  return generations.flatMap(({ findings }) =>
    findings.map(({ severity, generation, object, problem }) => {
      const what = object ?? `generation ${generation}`
      const text = problem.startsWith(what) ? problem : `${what}: ${problem}`
      return `${severity}: replica ${replica}: ${text}\n`
    }),
  )
}

function describeNotes({ replica, restored }: Result): string[] {
  return (restored?.notes ?? []).map((note) => `note: replica ${replica}: ${note}\n`)
}

function describeVerdict({ replica, verdict, restored, problem }: Result, level: Level): string {
  if (problem !== undefined) return `replica ${replica} is ${verdictPhrase(verdict)}: ${problem}`
  const proof = restored === undefined ? '' : `; ${describeRestored(restored)}`
  return `replica ${replica} is ${verdictPhrase(verdict)} (${level})${proof}`
}

function verdictPhrase(verdict: Result['verdict']): string {
  if (verdict === 'timeout') return 'not verified in time'
  return verdict === 'failed' ? 'not verified' : verdict
}

function describeRestored({
  position,
  commitTimeMs,
  durationMs,
  comparison,
}: ValidationReport): string {
  const time = commitTimeMs === undefined ? '' : ` of ${new Date(commitTimeMs).toISOString()}`
  return `restored ${formatPosition(position)}${time} in ${Math.round(durationMs)} ms, integrity_check finds no damage, ${describeComparison(comparison)}`
}

function describeComparison(comparison: Comparison): string {
  switch (comparison.verdict) {
    case 'same':
      return comparison.changedPages === 0
        ? `identical to the live database (${countOf(comparison.comparedPages, 'page')})`
        : `identical to the live database in ${countOf(comparison.comparedPages, 'page')}; ${countOf(comparison.changedPages, 'page')} changed since`
    case 'absent':
      return 'not compared: there is no live database here'
    case 'inconclusive':
      return `not compared: ${countOf(comparison.changedPages, 'page')} of the live database changed and ${comparison.changedPages === 1 ? 'is' : 'are'} not stored yet`
  }
}
