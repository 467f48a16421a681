/** Reads single values as the table of keys says, and knows the value of those that are absent: their default. */
import assert from 'node:assert'
import { parseDuration } from '../../kit/duration.js'
import { infoOf, type KeyInfo, type KeyOf, type Section, type ValueOf } from './keys.js'

/** A value as its source has it: parsed, and its text. */
export interface Scalar {
  readonly value: unknown
  readonly text: string
}

type Parsed =
  | { readonly kind: 'value'; readonly value: unknown }
  | { readonly kind: 'problem'; readonly problem: string }

/** The value of a key: that of the scalar; where there is none, or it is wrong and reported, the default. */
export function readScalar<S extends Section, K extends KeyOf<S>>(
  key: { readonly section: S; readonly name: K },
  scalar: Scalar | undefined,
  report: (problem: string) => void,
): ValueOf<S, K> {
  const info = infoOf(key.section, key.name)
  const parsed = scalar && parseScalar(info, scalar)
  if (parsed?.kind === 'problem') report(parsed.problem)
  const value = parsed?.kind === 'value' ? parsed.value : defaultOf(info)
  // What the table says of a key is what `parse` makes of its text.
  return value as ValueOf<S, K>
}

/** A text that stands where YAML would have told what it is. */
export function plainScalar(text: string): Scalar {
  if (text === 'true' || text === 'false') return { value: text === 'true', text }
  return { value: /^\d{1,9}$/.test(text) ? Number(text) : text, text }
}

function defaultOf(info: KeyInfo): unknown {
  if (info.default === undefined) return undefined
  const parsed = parseScalar(info, plainScalar(info.default))
  assert(parsed.kind === 'value')
  return parsed.value
}

/** What the value of a key is, or what is wrong with it. A key that holds a secret is a string, whose text is in no problem. */
export function parseScalar(info: KeyInfo, scalar: Scalar): Parsed {
  const { value, text } = scalar
  const written = typeof value === 'string' ? value : text
  if (written === '') return parseEmpty(info)
  switch (info.type) {
    case 'string':
      return is(written)
    case 'duration':
      return parseDurationOf(info, scalar)
    case 'duration-or-none': {
      if (value === 'none') return is(undefined)
      const durationMs = durationOf(scalar)
      if (durationMs === undefined) return notADuration(text, '72h, or none')
      return is(durationMs > 0 ? durationMs : undefined)
    }
    case 'integer':
      if (typeof value !== 'number' || !Number.isSafeInteger(value)) {
        return problem(`${isQuoted(scalar) ? quoted : 'not a whole number'}: ${text}`)
      }
      return inRange(info, value, { text, least: Number(info.least ?? 0) })
    case 'size': {
      const bytes = parseSize(text)
      return bytes !== undefined && bytes > 0
        ? is(bytes)
        : problem(`not a size: ${text} (write for example 500MB or 4GiB)`)
    }
    case 'boolean':
      if (typeof value === 'boolean') return is(value)
      return problem(`${isQuoted(scalar) ? quoted : 'neither true nor false'}: ${text}`)
    case 'choice':
      return parseChoice(info, written)
    case 'section':
    case 'list':
      assert.fail('not a single value')
  }
}

function parseEmpty(info: KeyInfo): Parsed {
  if (info.mayBeEmpty !== true) return problem('is empty: give it a value, or remove it')
  return is(info.type === 'string' ? '' : defaultOf(info))
}

function parseDurationOf(info: KeyInfo, scalar: Scalar): Parsed {
  const durationMs = durationOf(scalar)
  if (durationMs === undefined) return notADuration(scalar.text)
  const least = info.least === undefined ? undefined : parseDuration(info.least)
  return inRange(info, durationMs, { text: scalar.text, least })
}

/** A number above 0, or from `least` on, or where it has a meaning, 0. */
function inRange(
  { zero, least: written }: KeyInfo,
  value: number,
  { text, least }: { readonly text: string; readonly least: number | undefined },
): Parsed {
  if (value === 0 && zero !== undefined) return is(undefined)
  if (least !== undefined && value >= least) return is(value)
  if (least === undefined && value > 0) return is(value)
  if (least === 0 || (least === undefined && zero !== undefined)) {
    return problem(`must not be negative: ${text}`)
  }
  const above = written === undefined || written === '1' ? 'above 0' : `${written} or more`
  return problem(`must be ${above}${zero === undefined ? '' : ', or 0'}, not ${text}`)
}

/** A bare integer is nanoseconds to the original, which nobody means. */
function durationOf({ value }: Scalar): number | undefined {
  if (typeof value === 'string') return parseDuration(value)
  return value === 0 ? 0 : undefined
}

function notADuration(text: string, example = '500ms, 30s, 5m or 24h'): Parsed {
  const days = /^(\d{1,5})d$/.exec(text)?.[1]
  let cure = `write for example ${example}`
  if (days !== undefined) cure = `there is no unit for days: write ${24 * Number(days)}h`
  if (/^\d+$/.test(text))
    cure = `the unit is missing: write for example ${text}s, ${text}m or ${text}h`
  return problem(`not a duration: ${text} (${cure})`)
}

function parseChoice(info: KeyInfo, text: string): Parsed {
  const { choices = [] } = info
  // Litestream takes either.
  const written = text.toLowerCase() === 'warning' ? 'warn' : text.toLowerCase()
  if (choices.includes(written)) return is(written)
  const last = choices.at(-1) ?? ''
  const wanted = choices.length === 1 ? last : `${choices.slice(0, -1).join(', ')} or ${last}`
  return problem(`must be ${wanted}, not ${text}`)
}

const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
}

/** A number of bytes with a unit, e.g. `500MB` or `1.5 GiB`; without one, bytes. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?i?B)?$/.exec(text)
  const unit = sizeUnits[match?.[2] ?? 'B']
  if (match?.[1] === undefined || unit === undefined) return undefined
  const bytes = Math.floor(Number(match[1]) * unit)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

const quoted = 'must be without quotes'

/** Whether a value would be one of another type without the quotes around it. */
function isQuoted({ value }: Scalar): boolean {
  return typeof value === 'string' && typeof plainScalar(value).value !== 'string'
}

function is(value: unknown): Parsed {
  return { kind: 'value', value }
}

function problem(text: string): Parsed {
  return { kind: 'problem', problem: text }
}
