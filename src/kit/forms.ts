/** What a value is that comes from outside, where types are gone: from a socket, or from an application in JavaScript. */

export type Fields = Readonly<Record<string, unknown>>

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null
}

export function areStrings(value: Fields, names: readonly string[]): boolean {
  return names.every((name) => typeof value[name] === 'string')
}

export function areNumbers(value: Fields, names: readonly string[]): boolean {
  return names.every((name) => Number.isFinite(value[name]))
}

export function isListOf<T>(
  value: unknown,
  is: ((each: unknown) => each is T) | ((each: unknown) => boolean),
): value is readonly T[] {
  return Array.isArray(value) && value.every((each) => is(each))
}
