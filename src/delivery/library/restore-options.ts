/** What a caller asks of `restore`, checked: types are gone at run time, and a slip must not restore another commit. */
import { UsageError } from '../../domain/errors.js'
import { isGeneration } from '../../domain/wal/generation.js'
import { nearestName } from '../../kit/nearest-name.js'

type Given = Readonly<Record<string, unknown>>

const integrityChecks = ['none', 'quick', 'full'] as const
const positiveInteger = 'a whole number of at least 1'

interface Rule {
  readonly allows: (value: unknown) => boolean
  readonly wants: string
}

/** What each option may be, by its name; undefined is the default. */
type Rules = Readonly<Record<string, Rule>>

const path: Rule = { allows: (value) => typeof value === 'string' && value !== '', wants: 'a path' }

const common = {
  generation: {
    allows: (value) => typeof value === 'string' && isGeneration(value),
    wants: 'the name of a generation, 16 lower-case hex digits',
  },
  parallelism: {
    allows: (value) => Number.isSafeInteger(value) && Number(value) >= 1,
    wants: positiveInteger,
  },
  integrityCheck: {
    allows: (value) => integrityChecks.some((each) => each === value),
    wants: integrityChecks.map((each) => `'${each}'`).join(' or '),
  },
  dryRun: { allows: (value) => typeof value === 'boolean', wants: 'true or false' },
  onProgress: { allows: (value) => typeof value === 'function', wants: 'a function' },
  signal: { allows: (value) => value instanceof AbortSignal, wants: 'an AbortSignal' },
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

/** Options, without those that are undefined. */
export type Defined<T> = { readonly [Name in keyof T]: Exclude<T[Name], undefined> }

/** Returns the options that are set. Throws {@link UsageError} for one that does not exist, lacks, or is of a wrong kind. */
export function checkRestoreOptions<T extends object>(options: T): Defined<T> {
  return check(options, { of: 'restore', rules: sourceRules, required: ['sources', 'outputPath'] })
}

/** The same for a restore from a URL. */
export function checkUrlRestoreOptions<T extends object>(options: T | undefined): Defined<T> {
  return check(options, { of: 'restore', rules: urlRules, required: ['to'] })
}

/** The same for a restore of what is missing. */
export function checkMissingOptions<T extends object>(options: T): Defined<T> {
  return check(options, { of: 'restoreIfMissing', rules: missingRules, required: [] })
}

interface Options {
  /** The function that takes them. */
  readonly of: string
  readonly rules: Rules
  readonly required: readonly string[]
}

function check<T extends object>(
  options: T | undefined,
  { of, rules, required }: Options,
): Defined<T> {
  if (!isObject(options)) throw new UsageError(`${of} takes an object of options`)
  const set = Object.entries(options).filter(([, value]) => value !== undefined)
  for (const [name, value] of set) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined
    if (rule === undefined) {
      throw new UsageError(`${of} has no option ${name}`, hintFor(name, Object.keys(rules)))
    }
    if (!rule.allows(value)) throw new UsageError(`${of}: ${name} must be ${rule.wants}`)
  }
  for (const name of required) {
    if (!set.some(([each]) => each === name)) throw new UsageError(`${of}: ${name} is missing`)
  }
  return Object.fromEntries(set) as Defined<T>
}

function hintFor(name: string, known: readonly string[]): { hint?: string } {
  if (known.includes('target') && (name === 'timestamp' || name === 'index')) {
    return { hint: `did you mean target: { kind: '${name}', … }?` }
  }
  const meant = name === 'timestamp' || name === 'target' ? 'at' : nearestName(name, known)
  return meant === undefined ? {} : { hint: `did you mean ${meant}?` }
}

function isTarget(value: unknown): boolean {
  if (!isObject(value)) return false
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
  if (!isObject(value)) return false
  return [value['index'], value['offset']].every(
    (each) => Number.isSafeInteger(each) && Number(each) >= 0,
  )
}

function isSource(value: unknown): boolean {
  if (typeof value === 'string') return value !== ''
  return isObject(value) && typeof value['name'] === 'string' && isObject(value['target'])
}

function isObject(value: unknown): value is Given {
  return typeof value === 'object' && value !== null
}
