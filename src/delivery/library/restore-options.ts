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

const common: Rules = {
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
}

/** Of a restore from sources. */
const sourceRules: Rules = {
  sources: {
    allows: (value) => Array.isArray(value) && value.length > 0 && value.every(isSource),
    wants: 'a list of at least one { name, client }',
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

/** Returns the options that are set. Throws {@link UsageError} for one that does not exist, lacks, or is of a wrong kind. */
export function checkRestoreOptions<T extends object>(options: T): T {
  return check(options, { rules: sourceRules, required: ['sources', 'outputPath'] })
}

/** The same for a restore from a URL. */
export function checkUrlRestoreOptions<T extends object>(options: T | undefined): T {
  return check(options, { rules: urlRules, required: ['to'] })
}

function check<T extends object>(
  options: T | undefined,
  { rules, required }: { readonly rules: Rules; readonly required: readonly string[] },
): T {
  if (!isObject(options)) throw new UsageError('restore takes an object of options')
  const set = Object.entries(options).filter(([, value]) => value !== undefined)
  for (const [name, value] of set) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined
    if (rule === undefined) throw unknown(name, rules)
    if (!rule.allows(value)) throw new UsageError(`restore: ${name} must be ${rule.wants}`)
  }
  for (const name of required) {
    if (!set.some(([each]) => each === name)) throw new UsageError(`restore: ${name} is missing`)
  }
  return Object.fromEntries(set) as T
}

function unknown(name: string, rules: Rules): UsageError {
  return new UsageError(`restore has no option ${name}`, hintFor(name, Object.keys(rules)))
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
  return isObject(value) && typeof value['name'] === 'string' && isObject(value['client'])
}

function isObject(value: unknown): value is Given {
  return typeof value === 'object' && value !== null
}
