/**
 * What a terminal takes for a command or shows in another order: control characters of ASCII and of ISO 6429's second
 * set, marks of direction, and spaces without width. Names of databases and messages of stores can have any of them.
 */
const notShown = /[\p{Cc}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu

/** The text with `\u…` in place of such characters. `keepsLines`: it has lines of its own. */
export function printable(text: string, { keepsLines = false } = {}): string {
  return text.replaceAll(notShown, (character) =>
    keepsLines && character === '\n'
      ? character
      : `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  )
}
