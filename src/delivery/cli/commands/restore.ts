import { existsSync } from 'node:fs'

import { expandPath, restore as runRestore } from '../../../compose/commands.js'
import { UsageError } from '../../../domain/errors.js'
import { parseGeneration } from '../../../domain/wal/generation.js'
import { formatPosition } from '../../../domain/wal/position.js'
import { countOf, formatBytes } from '../../../kit/quantity.js'
import { isNothingStored, nothingStored } from '../../../usecase/restore/restore-missing.js'
import {
  type RestoreReport,
  type RestoreRequest,
  type RestoreTarget,
} from '../../../usecase/restore/restore-types.js'
import { defineCommand, type FlagValues } from '../command.js'
import { isUrl, nameSubject, openSubject } from '../context.js'
import { configFlags, jsonFlag, replicaFlag, subjectArguments } from '../flags.js'
import { warnOfMemoryLimit } from '../memory-limit.js'
import { createProgressBar } from '../progress-bar.js'
import { print, printJson } from '../output.js'
import { writeRestore } from '../restore-command.js'
import { exitCodes } from '../../exit-codes.js'

const targetFlags = {
  generation: { value: 'name', description: 'only this generation' },
  index: {
    value: 'hex',
    description: 'up to the end of this WAL index, or to a position: index:offset',
  },
  timestamp: {
    value: 'time',
    description: 'the last commit at or before this time, RFC 3339 with a time zone',
  },
} as const

const choiceFlags = {
  ...targetFlags,
  parallelism: { value: 'n', description: 'WAL segments fetched at once', default: '64' },
  ifDbNotExists: { description: 'exit 0 if the output exists' },
  ifReplicaExists: { description: 'exit 0 if there is no backup' },
  dryRun: { description: 'only show what would be restored' },
  integrityCheck: {
    value: 'kind',
    description: 'what SQLite checks at the end: none, quick or full',
    default: 'quick',
  },
} as const

export const restore = defineCommand({
  name: 'restore',
  summary: 'restores a database from a replica',
  about:
    'Creates a database as it was at its newest commit, at a time, or at a position. It never overwrites a file, and it leaves nothing when it fails. Without `-o`, the database is restored to its path in the configuration.',
  example: 'tsreplicate restore -o /restored/app.db file:///backup/app',
  arguments: subjectArguments,
  flags: {
    ...configFlags,
    ...replicaFlag,
    ...jsonFlag,
    o: { value: 'path', description: 'the database to create' },
    ...choiceFlags,
  },
  printsWhatIsDone: true,
  run: async ([positional], flags, { signal }) => {
    const choice = parseChoice(flags)
    const subjectName = await nameSubject(positional, flags)
    if (isUrl(subjectName) && flags.o === undefined) {
      throw new UsageError('output path required', { hint: 'Name the database to create with -o.' })
    }
    if (flags.o !== undefined && isUrl(flags.o)) throw urlAsOutput(flags.o)
    const outputPath = await expandPath(flags.o ?? subjectName)
    const subject = await openSubject(subjectName, flags)
    const skip = (why: string): number => {
      subject.logger.info({}, why)
      if (flags.json) printJson({ skipped: why })
      return exitCodes.done.code
    }
    if (flags.ifDbNotExists && existsSync(outputPath)) {
      return skip('database already exists, skipping')
    }
    if (!flags.dryRun) warnOfMemoryLimit(subject.logger)
    const bar = createProgressBar(process.stderr)
    try {
      const { sources } = subject
      const written = {
        configPath: flags.config,
        expandEnv: !flags.noExpandEnv,
        hasReplicas: sources.length > 1 || flags.replica !== undefined,
        outputPath: flags.o,
        subject: positional,
      }
      const command = (wanted: readonly string[], replica: string): string =>
        writeRestore(written, wanted, replica)
      const request = { ...choice, sources, outputPath, command }
      const report = await runRestore(request, { onProgress: bar.update }, signal)
      bar.clear()
      for (const note of report.notes) subject.logger.warn({}, note)
      if (flags.json) printJson({ ...report, outputPath, dryRun: request.dryRun })
      else print(describe(report, request))
      return exitCodes.done.code
    } catch (error) {
      bar.clear()
      if (isNothingStored(error) && flags.ifReplicaExists) return skip(nothingStored)
      throw error
    }
  },
})

function urlAsOutput(url: string): UsageError {
  // Of another store's, there may be secrets in it.
  const isFile = /^file:/i.test(url)
  const path = url.replace(/^\w+:\/\//, '')
  const shown = isFile ? `: ${url}` : ''
  return new UsageError(`-o is a URL, but names the database file to create${shown}`, {
    hint: `Write -o ${isFile ? path : 'PATH'} for a file. A replica's URL is written without -o, at the end.`,
  })
}

function parseChoice(
  flags: FlagValues<typeof choiceFlags>,
): Omit<RestoreRequest, 'sources' | 'outputPath'> {
  const generation = flags.generation === undefined ? undefined : parseGeneration(flags.generation)
  if (flags.generation !== undefined && generation === undefined) {
    throw new UsageError(`not a generation: ${flags.generation}`, {
      hint: 'A generation is named by 16 lower-case hex digits; `generations` lists them.',
    })
  }
  const parallelism = flags.parallelism ?? '64'
  if (!/^-?\d+$/.test(parallelism)) {
    throw new UsageError(`invalid -parallelism: ${parallelism}`, {
      hint: 'Write a whole number; below 1 it is 1.',
    })
  }
  return {
    generation,
    target: parseTarget(flags),
    parallelism: Math.max(1, Number(parallelism)),
    integrityCheck: parseIntegrityCheck(flags.integrityCheck),
    dryRun: flags.dryRun,
  }
}

export function parseIntegrityCheck(text = 'quick'): RestoreRequest['integrityCheck'] {
  if (text === 'none' || text === 'quick' || text === 'full') return text
  throw new UsageError(`invalid --integrity-check: ${text}`, { hint: 'Write none, quick or full.' })
}

function parseTarget({ index, timestamp }: FlagValues<typeof targetFlags>): RestoreTarget {
  if (index !== undefined && timestamp !== undefined) {
    throw new UsageError('cannot specify index & timestamp to restore')
  }
  if (index !== undefined) {
    const match = /^([0-9a-fA-F]{1,8})(?::(\d{1,15}))?$/.exec(index)
    if (match?.[1] === undefined) {
      throw new UsageError(`invalid -index: ${index}`, {
        hint: 'Write an index in hex digits, or a position such as 0000002a:4152.',
      })
    }
    const number = Number.parseInt(match[1], 16)
    return match[2] === undefined
      ? { kind: 'index', index: number }
      : { kind: 'position', position: { index: number, offset: Number(match[2]) } }
  }
  if (timestamp === undefined) return { kind: 'latest' }
  const timeMs = parseTimestamp(timestamp)
  if (timeMs !== undefined) return { kind: 'timestamp', timeMs }
  throw new UsageError(
    'invalid -timestamp, must specify in ISO 8601 format (e.g. 2000-01-01T00:00:00Z)',
    { hint: timestampHint(timestamp) },
  )
}

function timestampHint(text: string): string {
  return parseTimestamp(`${text}Z`) === undefined
    ? 'Write RFC 3339 with a zone, for example 2026-11-28T22:00:00Z or 2026-11-28T23:00:00+01:00.'
    : `The zone is missing: write ${text}Z if it is UTC, or an offset like +01:00 in place of the Z.`
}

/** RFC 3339 with a zone, in milliseconds; a day that is not in the calendar is no time. */
export function parseTimestamp(text: string): number | undefined {
  const match =
    /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))$/.exec(text)
  if (match?.[1] === undefined) return undefined
  const secondsMs = Date.parse(`${match[1]}Z`)
  if (Number.isNaN(secondsMs)) return undefined
  if (new Date(secondsMs).toISOString().slice(0, 19) !== match[1]) return undefined
  const offsetMs = (Number(match[4] ?? 0) * 60 + Number(match[5] ?? 0)) * 60_000
  const fractionMs = Math.floor(Number(`0.${match[2] ?? '0'}`) * 1000)
  return secondsMs + fractionMs - (match[3] === '-' ? -offsetMs : offsetMs)
}

function describe(report: RestoreReport, request: RestoreRequest): string {
  const verb = request.dryRun ? 'would restore' : 'restored'
  const about = report.timeIsApproximate ? 'approximately ' : ''
  const time =
    report.commitTimeMs === undefined
      ? 'unknown'
      : `${about}${new Date(report.commitTimeMs).toISOString()}`
  return [
    `${verb} ${request.outputPath}`,
    `  replica     ${report.replica}`,
    `  generation  ${report.generation}`,
    `  position    ${formatPosition({ generation: report.generation, ...report.position })}`,
    `  committed   ${time}`,
    `  read        ${formatBytes(report.storedBytes)}: 1 snapshot and ${countOf(report.segmentCount, 'WAL segment')}`,
    '',
  ].join('\n')
}
