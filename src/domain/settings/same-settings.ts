import { Secret } from './secret.js'

/** Whether two pieces of a configuration say the same. */
export function sameSettings(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (a instanceof Secret || b instanceof Secret) {
    return a instanceof Secret && b instanceof Secret && a.reveal() === b.reveal()
  }
  if (!isObject(a) || !isObject(b) || Array.isArray(a) !== Array.isArray(b)) return false
  const left = new Map(Object.entries(a))
  const right = new Map(Object.entries(b))
  return (
    left.size === right.size &&
    [...left].every(([key, value]) => right.has(key) && sameSettings(value, right.get(key)))
  )
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
