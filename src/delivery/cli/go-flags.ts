import { UsageError } from '../../domain/errors.js'
import { nearestName } from '../../kit/nearest-name.js'

/** What an empty value nearly always comes from. */
const emptyHint = 'Is a variable not set?'

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
 * short and stay, with `-o=x` taken apart. After `--` nothing is changed. Nothing may be empty: `-o "$OUTPUT"` with a variable
 * that is not set would otherwise mean the current folder.
 */
export function normalizeGoFlags(argv: readonly string[], flags: GoFlags): string[] {
  const result: string[] = []
  let argumentCount = 0
  const addArgument = (argument: string): void => {
    argumentCount += 1
    if (argument === '') {
      throw new UsageError(`argument ${argumentCount} of ${flags.command} is empty`, {
        hint: emptyHint,
      })
    }
    result.push(argument)
  }
  const addFlag = (name: string, value: string | undefined): void => {
    if (value === undefined) throw new UsageError(`flag needs an argument: -${name}`)
    if (value === '') throw new UsageError(`-${name} has an empty value`, { hint: emptyHint })
    result.push(...(name === 'o' ? ['-o', value] : [`--${name}=${value}`]))
  }
  for (let i = 0; i < argv.length; i += 1) {
    const argument = argv[i] ?? ''
    if (argument === '--') {
      result.push(argument)
      argv.slice(i + 1).forEach(addArgument)
      return result
    }
    const match = /^--?([A-Za-z][\w-]*)(?:=(.*))?$/s.exec(argument)
    const name = match?.[1]
    if (name === undefined) {
      addArgument(argument)
      continue
    }
    const value = match?.[2]
    if (name === 'h' || name === 'help') {
      result.push('--help')
    } else if (flags.booleans.has(name)) {
      if (parseBoolean(name, value)) result.push(`--${name}`)
    } else if (name === 'o' || flags.valued.has(name)) {
      addFlag(name, value ?? argv[(i += 1)])
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
