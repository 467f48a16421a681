/** The pieces of a generated page. */
import { join } from 'node:path'
import prettier from 'prettier'

const root = join(import.meta.dirname, '../../..')

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}

export function code(text: string): string {
  return `\`${text}\``
}

export function codes(texts: readonly string[]): string {
  return texts.map(code).join(', ')
}

/** A page as it is committed, and so as `npm run lint` wants it. */
export async function format(text: string, page: string): Promise<string> {
  const path = join(root, page)
  return prettier.format(text, { ...(await prettier.resolveConfig(path)), filepath: path })
}

export function pathOf(page: string): string {
  return join(root, page)
}
