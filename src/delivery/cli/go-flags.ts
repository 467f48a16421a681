import { UsageError } from '../../domain/errors.js'
import { nearestName } from '../../domain/nearest-name.js'

export interface GoFlags {
  /** The command whose flags these are. */
  readonly command: string
  /** Long names of flags that take a value. */
  readonly valued: ReadonlySet<string>
  /** Long names of flags that are on or off. */
  readonly booleans: ReadonlySet<string>
}

/**
 * Turns Go-style flags (`-config x`, `-config=x`, `-if-db-not-exists`, `-json=false`) into `--…`. `-o` and `-h` are
 * short and stay, with `-o=x` taken apart. Behind `--` nothing is touched.
 */
export function normalizeGoFlags(argv: readonly string[], flags: GoFlags): string[] {
  const result: string[] = []
  for (let i = 0; i < argv.length; i += 1) {
    const argument = argv[i] ?? ''
    if (argument === '--') return [...result, ...argv.slice(i)]
    const match = /^--?([A-Za-z][\w-]*)(?:=(.*))?$/s.exec(argument)
    const name = match?.[1]
    if (name === undefined) {
      result.push(argument)
      continue
    }
    const value = match?.[2]
    if (name === 'o') {
      const output = value ?? argv[(i += 1)]
      if (output === undefined) throw new UsageError('flag needs an argument: -o')
      result.push('-o', output)
    } else if (name === 'h' || name === 'help') {
      result.push('--help')
    } else if (flags.booleans.has(name)) {
      if (parseBoolean(name, value)) result.push(`--${name}`)
    } else if (flags.valued.has(name)) {
      const next = value ?? argv[(i += 1)]
      if (next === undefined) throw new UsageError(`flag needs an argument: -${name}`)
      result.push(`--${name}=${next}`)
    } else {
      throw new UsageError(`flag provided but not defined: -${name}`, {
        hint: unknownFlagHint(name, flags),
      })
    }
  }
  return result
}

function parseBoolean(name: string, value: string | undefined): boolean {
  if (value === undefined || /^(1|t|T|true|TRUE|True)$/.test(value)) return true
  if (/^(0|f|F|false|FALSE|False)$/.test(value)) return false
  throw new UsageError(`invalid boolean value "${value}" for -${name}`, {
    hint: `Write -${name}, or -${name}=false.`,
  })
}

function unknownFlagHint(name: string, { command, valued, booleans }: GoFlags): string {
  const nearest = nearestName(name, [...valued, ...booleans])
  const help = `tsreplicate ${command} --help lists its flags.`
  return nearest === undefined ? help : `Did you mean -${nearest}? ${help}`
}
