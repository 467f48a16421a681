/**
 * The documents for users, README.md and docs/, taken apart into their fenced blocks, and a sandbox in which the shell
 * blocks of a page run one after the other, as a reader would type them.
 *
 * The language of a block says what is done with it:
 * - `sh` runs. `sh exit=65` has to end with that code. A `text` block right behind it is what it prints, see {@link differs}.
 *   `sh twice` is typed a second time, and must not lose what was written to the database in between.
 * - `yaml` is read as a configuration, `json` is parsed, `ts` is compiled and runs, each in the folder where those before it ran.
 * - `text` anywhere else is a picture or a form.
 *
 * What cannot be done so is in `exceptions.ts`, with its reason; its commands are parsed all the same.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')

export interface Block {
  /** Relative to the project. */
  readonly page: string
  /** Of the fence, from 1. */
  readonly line: number
  readonly language: string
  /** What follows the language: `twice`, `exit=1`. */
  readonly words: readonly string[]
  readonly text: string
  /** The `text` block behind an `sh` block. */
  readonly output: string | undefined
}

/** README.md, that of the examples, and every page of docs/. */
export function listPages(): string[] {
  const names = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
  return [
    'README.md',
    'examples/README.md',
    ...names.filter((name) => name.endsWith('.md')).map((name) => join('docs', name)),
  ].sort()
}

export function readPage(page: string): string {
  return readFileSync(join(root, page), 'utf8')
}

/** The fenced blocks of a page, in order. */
export function readBlocks(page: string): Block[] {
  const lines = readPage(page).split('\n')
  const blocks: (Block & { readonly endLine: number })[] = []
  for (let i = 0; i < lines.length; i += 1) {
    const fence = /^( *)```(\S*) *(.*)$/.exec(lines[i] ?? '')
    if (fence === null) continue
    const [, indent = '', language = '', words = ''] = fence
    const start = i
    i += 1
    while (i < lines.length && lines[i] !== `${indent}\`\`\``) i += 1
    const text = lines.slice(start + 1, i).map((line) => line.slice(indent.length))
    blocks.push({
      page,
      line: start + 1,
      language,
      words: words.split(' ').filter((word) => word !== ''),
      text: text.join('\n'),
      output: undefined,
      endLine: i + 1,
    })
  }
  return blocks.map(({ endLine, ...block }, i) => {
    const next = blocks[i + 1]
    const isOutput =
      block.language === 'sh' && next?.language === 'text' && next.line <= endLine + 2
    return isOutput ? { ...block, output: next.text } : block
  })
}

/** For messages: `docs/guide.md:12`. */
export function placeOf({ page, line }: Block): string {
  return `${page}:${line}`
}

/** The first line of a block, by which {@link exceptions} names it. */
export function firstLine({ text }: Block): string {
  return text.split('\n', 1)[0]?.trim() ?? ''
}

/** Every command line of tsreplicate in a text: in shell blocks, units, Dockerfiles and manifests. */
export function commandsIn(text: string): string[] {
  const joined = text.replaceAll(/\\\n\s*/g, ' ')
  const inShell = joined
    .split('\n')
    .flatMap((line) => [
      ...line.matchAll(/(?:^|[\s;&|(=/])tsreplicate((?: +(?:'[^']*'|"[^"]*"|[^\s;&|)#'"]+))*)/g),
    ])
    .map(([, args = '']) => args.trim())
  const inLists = [...joined.matchAll(/\[\s*["']?tsreplicate["']?\s*,([^\]]*)\]/g)].map(
    ([, args = '']) =>
      args
        .split(/,(?=(?:[^"']|"[^"]*"|'[^']*')*$)/)
        .map((word) => word.trim())
        .join(' '),
  )
  return [...inShell, ...inLists].filter((args) => /^[a-z-]+( |$)/.test(args))
}

/** Why what was printed is not what the page says; undefined: it is. Times, names of generations and numbers may differ. */
export function differs(printed: string, written: string): string | undefined {
  const parts = normalize(written)
    .split('…')
    .map((part) => part.trim().replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`))
  if (new RegExp(`^${parts.join('[^]*')}$`).test(normalize(printed))) return undefined
  return `it prints:\n${printed}\nand the page says:\n${written}`
}

function normalize(text: string): string {
  return text
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, 'TIME')
    .replaceAll(/\b[0-9a-f]{16}\b/g, 'GENERATION')
    .replaceAll(/\b[0-9a-f]{8}\b/g, 'INDEX')
    .replaceAll(/\d+(\.\d+)?( ?(ns|µs|ms|s|m|h|B|kB|KiB|MiB|GiB|bytes)\b)?/g, 'N')
    .replaceAll(/(N)+/g, 'N')
    .replaceAll(/ +/g, ' ')
    .replaceAll(/ ?\n ?/g, '\n')
    .trim()
}
