/** Keys as a configuration for people shows them: commented out, each after what it does. */
import { type KeyInfo } from './keys.js'

export type Named = KeyInfo & { readonly name: string }

export function meaningOf({ description, zero }: Named): string {
  return zero === undefined ? description : `${description} \`0\`: ${zero}.`
}

/** Keys that are commented out, each after what it does. */
export function entries(infos: readonly Named[], indent: string, inner = ''): string[] {
  return infos.flatMap((info) => {
    const mark = info.inUrl === true ? '? ' : ''
    const stores = info.stores === undefined ? '' : `${info.stores.join(', ')}: `
    const otherwise = info.otherwise === undefined ? '' : ` Without it: ${info.otherwise}.`
    const { choices = [] } = info
    const one = choices.length > 1 ? ` One of: ${choices.join(', ')}.` : ''
    const value = info.default ?? info.example ?? ''
    return [
      ...comment(
        `${mark}${stores}${meaningOf(info)}${one}${otherwise}`,
        inner === '' ? `${indent}# ` : `${indent}#${inner}# `,
      ),
      `${indent}#${inner}${info.name}: ${/^[*&!%@`]/.test(value) ? `"${value}"` : value}`,
    ]
  })
}

/** Plain text, broken into lines of at most 100 columns. */
export function comment(text: string, start: string): string[] {
  const lines: string[] = []
  let line = start
  for (const word of text.replaceAll('`', '').split(' ')) {
    if (line !== start && line.length + word.length > 100) {
      lines.push(line.trimEnd())
      line = start
    }
    line += `${word} `
  }
  return [...lines, line.trimEnd()]
}
