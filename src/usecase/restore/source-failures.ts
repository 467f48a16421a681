/** Failures of a replica, beside which another replica may do better. */
export function isSourceFailure(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false
  return ['CORRUPTION', 'REPLICA', 'OBJECT_NOT_FOUND', 'NO_BACKUP'].includes(String(error.code))
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

export function firstOf(errors: ReadonlyMap<unknown, unknown>): unknown {
  return errors.values().next().value
}
