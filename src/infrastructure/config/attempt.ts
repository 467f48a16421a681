import { ConfigError } from '../../domain/errors.js'
import { type KeyOf, type Section } from './keys.js'
import { type Settings } from './settings.js'

/** What `work` makes of a value; undefined where it refuses it, which is reported with the hint. */
export function attempt<S extends Section, T>(
  settings: Settings<S>,
  key: KeyOf<S>,
  work: () => T,
): T | undefined {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const hint = error.hint === undefined ? '' : `. ${error.hint}`
    settings.problem(key, `${error.message}${hint}`)
    return undefined
  }
}
