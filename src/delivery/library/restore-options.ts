/** What a caller asks of `restore`, checked: a slip must not restore another commit. */
import { isGeneration } from '../../domain/wal/generation.js'
import { isFields } from '../../kit/forms.js'
import {
  callback,
  checkOptions,
  type Defined,
  flag,
  isReplicaConfig,
  isText,
  oneOf,
  path,
  type Rules,
  signal,
} from './options.js'

const common = {
  generation: {
    allows: (value) => typeof value === 'string' && isGeneration(value),
    wants: 'the name of a generation, 16 lower-case hex digits',
  },
  parallelism: {
    allows: (value) => Number.isSafeInteger(value) && Number(value) >= 1,
    wants: 'a whole number of at least 1',
  },
  integrityCheck: oneOf(['none', 'quick', 'full']),
  dryRun: flag,
  onProgress: callback,
  signal,
} satisfies Rules

/** Of a restore from sources. */
const sourceRules: Rules = {
  sources: {
    allows: (value) => Array.isArray(value) && value.length > 0 && value.every(isSource),
    wants: 'a list of at least one URL, or replica of a configuration',
  },
  outputPath: path,
  target: {
    allows: isTarget,
    wants:
      "{ kind: 'latest' }, { kind: 'index', index: a whole number }, { kind: 'position', position: { index, offset } } or { kind: 'timestamp', timeMs: milliseconds since 1970 }",
  },
  ...common,
}

/** Of one from a URL. */
const urlRules: Rules = {
  to: path,
  at: {
    allows: (value) => value instanceof Date && !isNaN(value.getTime()),
    wants: 'a valid Date',
  },
  ...common,
}

/** Of one of what is missing. */
const missingRules: Rules = {
  integrityCheck: common.integrityCheck,
  onProgress: common.onProgress,
  signal: common.signal,
}

/** As {@link checkOptions} has it. */
export function checkRestoreOptions<T extends object>(options: T): Defined<T> {
  return checkOptions(options, {
    of: 'restore',
    rules: sourceRules,
    required: ['sources', 'outputPath'],
    hintFor: (name) =>
      isMoment(name) ? `did you mean target: { kind: '${name}', … }?` : undefined,
  })
}

/** The same for a restore from a URL. */
export function checkUrlRestoreOptions<T extends object>(options: T | undefined): Defined<T> {
  return checkOptions(options, {
    of: 'restore',
    rules: urlRules,
    required: ['to'],
    hintFor: (name) => (name === 'timestamp' || name === 'target' ? 'did you mean at?' : undefined),
  })
}

/** The same for a restore of what is missing. */
export function checkMissingOptions<T extends object>(options: T): Defined<T> {
  return checkOptions(options, { of: 'restoreIfMissing', rules: missingRules })
}

function isMoment(name: string): boolean {
  return name === 'timestamp' || name === 'index'
}

function isSource(value: unknown): boolean {
  return isText(value) || isReplicaConfig(value)
}

function isTarget(value: unknown): boolean {
  if (!isFields(value)) return false
  const { kind, index, timeMs, position, ...others } = value
  if (Object.keys(others).length > 0) return false
  if (kind !== 'position' && position !== undefined) return false
  switch (kind) {
    case 'position':
      return index === undefined && timeMs === undefined && isPosition(position)
    case 'latest':
      return index === undefined && timeMs === undefined
    case 'index':
      return timeMs === undefined && Number.isSafeInteger(index) && Number(index) >= 0
    case 'timestamp':
      return index === undefined && typeof timeMs === 'number' && Number.isFinite(timeMs)
    default:
      return false
  }
}

function isPosition(value: unknown): boolean {
  if (!isFields(value)) return false
  return [value['index'], value['offset']].every(
    (each) => Number.isSafeInteger(each) && Number(each) >= 0,
  )
}
