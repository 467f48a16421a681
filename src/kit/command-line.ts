/** A command line as words. There is no shell: nothing is expanded, and what only a shell could do is a problem. */
export type CommandLine =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  /** A phrase that says what is wrong with it. */
  | { readonly kind: 'malformed'; readonly problem: string; readonly hint: string | undefined }

type Quote = "'" | '"' | '`' | '$('

const shellHint = "There is no shell: quote the character, or write sh -c '…' around the command."

/**
 * Splits a command line at blanks, as Litestream does: single and double quotes and backslashes hold words together, and
 * what stands between backquotes or in `$(…)` is one piece and stays as it is. Litestream leaves out all that comes
 * after an unquoted `;`, `&`, `|`, `<` or `>`, which is a problem here.
 */
export function splitCommandLine(line: string): CommandLine {
  const words: string[] = []
  const quotes = new Set<Quote>()
  let word: string | undefined
  let escaped = false
  const isIn = (...any: Quote[]): boolean => any.some((quote) => quotes.has(quote))
  const toggle = (quote: Quote): void => {
    if (!quotes.delete(quote)) quotes.add(quote)
  }
  for (const character of line) {
    if (escaped) {
      escaped = false
      word = (word ?? '') + character
    } else if (character === '\\' && !isIn("'")) {
      escaped = true
    } else if (/[ \t\r\n]/.test(character) && quotes.size === 0) {
      if (word !== undefined) words.push(word)
      word = undefined
    } else if (character === "'" && !isIn('"', '$(')) {
      toggle("'")
      word ??= ''
    } else if (character === '"' && !isIn("'", '$(')) {
      toggle('"')
      word ??= ''
    } else if (/[;&|<>]/.test(character) && quotes.size === 0) {
      return { kind: 'malformed', problem: `unquoted ${character}`, hint: shellHint }
    } else {
      if (character === '`' && !isIn("'", '"', '$(')) toggle('`')
      if (/[()]/.test(character) && !isIn("'", '"', '`')) {
        const opens = character === '('
        if (opens === isIn('$(') || (opens && word?.endsWith('$') !== true)) return invalid
        toggle('$(')
      }
      word = (word ?? '') + character
    }
  }
  if (escaped || quotes.size > 0) return invalid
  if (word !== undefined) words.push(word)
  return (words[0] ?? '') === '' ? empty : { kind: 'words', words }
}

const empty: CommandLine = {
  kind: 'malformed',
  problem: 'it is empty',
  hint: 'It names no program. Is a variable not set?',
}

const invalid: CommandLine = {
  kind: 'malformed',
  problem: 'invalid command line string',
  hint: 'A quote, bracket or backslash is left open.',
}
