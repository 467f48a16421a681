/** What shells complete on a command line of tsreplicate, from what each command says of itself. */
import type { CliCommand, Flag } from '../../src/delivery/cli/command.ts'
import { type Program, type TextFile } from './manual.ts'

/** By the names under which the shells look for them. */
export function completions(program: Program): Record<'bash' | 'zsh' | 'fish', TextFile> {
  return {
    bash: { name: 'tsreplicate', text: bash(program) },
    zsh: { name: '_tsreplicate', text: zsh(program) },
    fish: { name: 'tsreplicate.fish', text: fish(program) },
  }
}

const isPath = ({ value }: Flag): boolean => value === 'path' || value === 'folder'

function flagsOf({ flags }: CliCommand): (readonly [written: string, flag: Flag])[] {
  return Object.entries(flags).map(([name, flag]) => [
    name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    flag,
  ])
}

function bash({ commands }: Program): string {
  const words = (named: readonly (readonly [string, Flag])[]): string =>
    named.map(([name]) => `-${name}`).join(' ')
  const cases = commands.map((command) => {
    const all = flagsOf(command)
    const texts = all.filter(([, flag]) => flag.value !== undefined && !isPath(flag))
    return `    ${command.name}) flags='${words(all)}' texts='${words(texts)}' ;;`
  })
  return `# bash completion of tsreplicate
_tsreplicate() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} flags texts
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    mapfile -t COMPREPLY < <(compgen -W '${commands.map(({ name }) => name).join(' ')}' -- "$cur")
    return
  fi
  case \${COMP_WORDS[1]} in
${cases.join('\n')}
    *) return ;;
  esac
  if [[ " $texts " == *" $prev "* ]]; then
    return
  elif [[ $cur == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$cur")
  else
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
  fi
}
complete -F _tsreplicate tsreplicate
`
}

function zsh({ commands }: Program): string {
  const quote = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`
  const argument = (flag: Flag): string => {
    if (flag.value === undefined) return ''
    return `:${flag.value}:${isPath(flag) ? '_files' : ' '}`
  }
  const inBrackets = (text: string): string => text.replaceAll(/[[\]:\\]/g, String.raw`\$&`)
  const cases = commands.flatMap((command) => [
    `    ${command.name})`,
    '      _arguments \\',
    ...flagsOf(command).map(
      ([name, flag]) =>
        `        ${quote(`-${name}[${inBrackets(flag.description)}]${argument(flag)}`)} \\`,
    ),
    `        '*:database or URL:_files'`,
    '      ;;',
  ])
  return `#compdef tsreplicate
_tsreplicate() {
  local -a commands=(
${commands.map(({ name, summary }) => `    ${quote(`${name}:${summary}`)}`).join('\n')}
  )
  if ((CURRENT == 2)); then
    _describe 'command' commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
${cases.join('\n')}
  esac
}
_tsreplicate "$@"
`
}

function fish({ commands }: Program): string {
  const quote = (text: string): string => `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`
  const lines = commands.flatMap((command) => [
    `complete -c tsreplicate -f -n __fish_use_subcommand -a ${command.name} -d ${quote(command.summary)}`,
    ...flagsOf(command).map(([name, flag]) => {
      const form = name.length === 1 ? '-s' : '-o'
      const value = flag.value === undefined ? '' : isPath(flag) ? ' -rF' : ' -x'
      return `complete -c tsreplicate -n '__fish_seen_subcommand_from ${command.name}' ${form} ${name}${value} -d ${quote(flag.description)}`
    }),
  ])
  return `# fish completion of tsreplicate\n${lines.join('\n')}\n`
}
