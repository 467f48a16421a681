export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Expands variables as Go's `os.Expand` does, on the raw text and comments too. There is no escape and no default
 * syntax; a variable that is not defined expands to nothing.
 */
export function expandEnvironment(text: string, env: Environment): string {
  return text.replace(
    /\$(?:\{([^}]*)\}|([*#$@!?\-0-9])|([A-Za-z0-9_]+)|\{)/g,
    (_, braced?: string, special?: string, name?: string) =>
      env[braced ?? special ?? name ?? ''] ?? '',
  )
}
