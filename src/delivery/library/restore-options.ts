/** What a caller asks of `restore`, checked: types are gone at run time, and a slip must not restore another commit. */
import { UsageError } from '../../domain/errors.js'
import { isGeneration } from '../../domain/wal/generation.js'
import { nearestName } from '../../kit/nearest-name.js'

type Given = Readonly<Record<string, unknown>>

const integrityChecks = ['none', 'quick', 'full'] as const
const positiveInteger = 'a whole number of at least 1'

/** What each option may be, by its name; undefined is the default. */
const rules: Readonly<Record<string, { allows: (value: unknown) => boolean; wants: string }>> = {
  sources: {
    allows: (value) => Array.isArray(value) && value.length > 0 && value.every(isSource),
    wants: 'a list of at least one { name, client }',
  },
  outputPath: { allows: (value) => typeof value === 'string' && value !== '', wants: 'a path' },
  generation: {
    allows: (value) => typeof value === 'string' && isGeneration(value),
    wants: 'the name of a generation, 16 lower-case hex digits',
  },
  target: {
    allows: isTarget,
    wants:
      "{ kind: 'latest' }, { kind: 'index', index: a whole number }, { kind: 'position', position: { index, offset } } or { kind: 'timestamp', timeMs: milliseconds since 1970 }",
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

const required = ['sources', 'outputPath']

/** Returns the options that are set. Throws {@link UsageError} for one that does not exist, lacks, or is of a wrong kind. */
export function checkRestoreOptions<T extends object>(options: T): T {
  if (!isObject(options)) throw new UsageError('restore takes an object of options')
  const set = Object.entries(options).filter(([, value]) => value !== undefined)
  for (const [name, value] of set) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined
    if (rule === undefined) throw unknown(name)
    if (!rule.allows(value)) throw new UsageError(`restore: ${name} must be ${rule.wants}`)
  }
  for (const name of required) {
    if (!set.some(([each]) => each === name)) throw new UsageError(`restore: ${name} is missing`)
  }
  return Object.fromEntries(set) as T
}

function unknown(name: string): UsageError {
  const meant =
    name === 'timestamp' || name === 'index'
      ? `target: { kind: '${name}', … }`
      : nearestName(name, Object.keys(rules))
  return new UsageError(
    `restore has no option ${name}`,
    meant === undefined ? {} : { hint: `did you mean ${meant}?` },
  )
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
