export type Environment = Readonly<Record<string, string | undefined>>

const variable = /\$(?:\{([^}]*)\}|([*#$@!?\-0-9])|([A-Za-z0-9_]+)|\{)/g

/**
 * Expands variables as Go's `os.Expand` does, on the raw text and comments too. There is no escape and no default
 * syntax; a variable that is not defined expands to nothing.
 */
export function expandEnvironment(text: string, env: Environment): string {
  return text.replace(
    variable,
    (_, braced?: string, special?: string, name?: string) =>
      env[braced ?? special ?? name ?? ''] ?? '',
  )
}

/**
 * Which variables of a text are not set, and where; those in comments are left out. What follows a `$` may as well
 * be a piece of a password: it is named only if it looks like a variable.
 */
export function findUnset(text: string, env: Environment): readonly string[] {
  return findVariables(text, (name) => env[name] === undefined)
}

/** Which variables of a text are set, but to nothing. */
export function findEmpty(text: string, env: Environment): readonly string[] {
  return findVariables(text, (name) => env[name] === '')
}

function findVariables(text: string, isMeant: (name: string) => boolean): readonly string[] {
  const found = new Set<string>()
  for (const match of text.matchAll(variable)) {
    const [, braced, special, plain] = match
    const name = braced ?? special ?? plain ?? ''
    if (!isMeant(name)) continue
    const lines = text.slice(0, match.index).split('\n')
    const before = lines.at(-1) ?? ''
    if (/(^|\s)#/.test(before)) continue
    const isClear = /^[A-Z_][A-Z0-9_]*$/.test(name) && (braced !== undefined || !/\w$/.test(before))
    const defaulted = /^([A-Z_][A-Z0-9_]*):?[-=?+]/.exec(braced ?? '')?.[1]
    if (defaulted === undefined) {
      found.add(`${isClear ? `$${name}` : 'a variable'} (line ${lines.length})`)
    } else {
      const cure = `a default is not supported: write \${${defaulted}} and set it`
      found.add(`$${defaulted} (line ${lines.length}; ${cure})`)
    }
  }
  return [...found]
}
