import { codeOf } from '../../kit/error-text.js'

const sourceFailures = new Set(['CORRUPTION', 'REPLICA', 'OBJECT_NOT_FOUND', 'NO_BACKUP'])

/** Failures of a replica, beside which another replica may do better. */
export function isSourceFailure(error: unknown): boolean {
  const code = codeOf(error)
  return code !== undefined && sourceFailures.has(code)
}

export function firstOf(errors: ReadonlyMap<unknown, unknown>): unknown {
  return errors.values().next().value
}
