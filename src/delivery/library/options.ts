/** What a caller passes, checked: types are gone at run time, and a slip must not do something else without a word. */
import { UsageError } from '../../domain/errors.js'
import {
  type Config,
  type DatabaseConfig,
  type ReplicaConfig,
} from '../../domain/settings/config.js'
import { isFields, isListOf } from '../../kit/forms.js'
import { nearestName } from '../../kit/nearest-name.js'

export interface Rule {
  readonly allows: (value: unknown) => boolean
  /** After "must be". */
  readonly wants: string
}

/** What each option may be, by its name; undefined is the default. */
export type Rules = Readonly<Record<string, Rule>>

/** The same, of all that there are. */
export type RulesOf<T> = { readonly [Name in keyof T]-?: Rule }

/** Options, without those that are undefined. */
export type Defined<T> = { readonly [Name in keyof T]: Exclude<T[Name], undefined> }

export const path: Rule = { allows: isText, wants: 'a path' }
export const flag: Rule = {
  allows: (value) => typeof value === 'boolean',
  wants: 'true or false',
}
export const callback: Rule = {
  allows: (value) => typeof value === 'function',
  wants: 'a function',
}
export const signal: Rule = {
  allows: (value) => value instanceof AbortSignal,
  wants: 'an AbortSignal',
}
/** A timer can be no longer than that. */
export const timeoutMs: Rule = {
  allows: (value) => typeof value === 'number' && value > 0 && value < 2 ** 31,
  wants: 'milliseconds above 0, and at most 2147483647',
}

export function oneOf(values: readonly string[]): Rule {
  return {
    allows: (value) => values.some((each) => each === value),
    wants: values.map((each) => `'${each}'`).join(' or '),
  }
}

export interface Checked {
  /** The function that takes them. */
  readonly of: string
  readonly rules: Rules
  /** Those that have no default. */
  readonly required?: readonly string[]
  /** What may be meant by one that there is not, before the nearest name is. */
  readonly hintFor?: (name: string) => string | undefined
}

/** Returns the options that are set. Throws {@link UsageError} for one that does not exist, lacks, or is of a wrong kind. */
export function checkOptions<T extends object>(
  options: T | undefined,
  { of, rules, required = [], hintFor }: Checked,
): Defined<T> {
  if (options === undefined || !isPlain(options))
    throw new UsageError(`${of} takes an object of options`)
  const set = Object.entries(options).filter(([, value]) => value !== undefined)
  for (const [name, value] of set) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined
    if (rule === undefined) {
      const meant = nearestName(name, Object.keys(rules))
      const hint = hintFor?.(name) ?? (meant === undefined ? undefined : `did you mean ${meant}?`)
      const text = `${of} has no option ${name}`
      throw new UsageError(text, hint === undefined ? {} : { hint })
    }
    if (!rule.allows(value)) throw new UsageError(`${of}: ${name} must be ${rule.wants}`)
  }
  for (const name of required) {
    if (!set.some(([each]) => each === name)) throw new UsageError(`${of}: ${name} is missing`)
  }
  return Object.fromEntries(set) as Defined<T>
}

export function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

/** Whether it is what `{ … }` makes, here or in another realm: a signal or a date that somebody passes has no options in it. */
export function isPlain(value: unknown): boolean {
  if (!isFields(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** Whether it can be a configuration, and none that somebody wrote down by hand: what is in it was checked when it was made. */
export function isConfig(value: unknown): value is Config {
  return (
    isFields(value) &&
    isListOf(value['databases'], isDatabaseConfig) &&
    isListOf(value['folders'], isFolder) &&
    isListOf(value['warnings'], (each) => typeof each === 'string') &&
    isFields(value['logging']) &&
    typeof value['shutdownTimeoutMs'] === 'number'
  )
}

/** Whether it can be a database of a configuration. */
export function isDatabaseConfig(value: unknown): value is DatabaseConfig {
  return (
    isFields(value) &&
    isText(value['path']) &&
    isText(value['metaPath']) &&
    typeof value['monitorIntervalMs'] === 'number' &&
    isListOf(value['replicas'], isReplicaConfig)
  )
}

/** Whether it can be a replica of a configuration. */
export function isReplicaConfig(value: unknown): value is ReplicaConfig {
  return isFields(value) && isText(value['name']) && isFields(value['target'])
}

function isFolder(value: unknown): boolean {
  if (!isFields(value) || !isText(value['path'])) return false
  const { database } = value
  return isFields(database) && isListOf(database['replicas'], isReplicaConfig)
}
