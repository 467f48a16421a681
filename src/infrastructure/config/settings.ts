/** Where settings come from: a mapping of a file, the query of a URL, one above the other, or nothing at all. */
import { ConfigError } from '../../domain/errors.js'
import { type KeyOf, type Section, type ValueOf } from './keys.js'
import { plainScalar, readScalar } from './scalars.js'

export interface Settings<S extends Section> {
  has(key: KeyOf<S>): boolean
  /** The value; its default where the key is absent, or wrong and reported. */
  value<K extends KeyOf<S>>(key: K): ValueOf<S, K>
  /** Reports what is wrong with a setting, or with its absence. */
  problem(key: KeyOf<S>, problem: string): void
}

/** Settings from texts by key, where nothing but the table tells what each is. */
export function textSettings<S extends Section>(
  section: S,
  texts: ReadonlyMap<string, string>,
  report: (key: string, problem: string) => void,
): Settings<S> {
  return {
    has: (key) => texts.has(key),
    value: (name) => {
      const text = texts.get(name)
      const scalar = text === undefined ? undefined : plainScalar(text)
      return readScalar({ section, name }, scalar, (problem) => report(name, problem))
    },
    problem: report,
  }
}

/** What holds where nothing is said: every default. */
export function noSettings<S extends Section>(section: S): Settings<S> {
  return textSettings(section, new Map(), (key, problem) => {
    throw new ConfigError(`${key}: ${problem}`)
  })
}

/** What `above` has, and of the rest what `below` has. */
export function layerSettings<S extends Section>(
  above: Settings<S>,
  below: Settings<S>,
): Settings<S> {
  const of = (key: KeyOf<S>): Settings<S> => (!above.has(key) && below.has(key) ? below : above)
  return {
    has: (key) => above.has(key) || below.has(key),
    value: (key) => of(key).value(key),
    problem: (key, problem) => of(key).problem(key, problem),
  }
}
