/** README.md and docs/: links lead somewhere, and what can be read without running it is right. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { loadConfig } from '../../src/index.js'
import {
  type Block,
  firstLine,
  listPages,
  placeOf,
  readBlocks,
  readPage,
} from '../support/documents.js'
import { exceptionFor, exceptions } from '../support/exceptions.js'

const root = join(import.meta.dirname, '../..')
const pages = listPages()
const blocks = pages.flatMap(readBlocks)
const isException = (block: Block): boolean =>
  exceptionFor(block.page, firstLine(block)) !== undefined
const ofLanguage = (language: string): Block[] =>
  blocks.filter((block) => block.language === language)

const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-documents-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** The text of a page without its blocks, spans of code left in. */
function proseOf(page: string): string {
  return readPage(page).replaceAll(/^( *)```[^]*?^\1```$/gm, '')
}

/** As GitHub names headings. */
function anchorsOf(page: string): Set<string> {
  const headings = [...proseOf(page).matchAll(/^#+ (.*)$/gm)].map(([, text = '']) => text)
  return new Set(
    headings.map((text) =>
      text
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\- _]/gu, '')
        .replaceAll(' ', '-'),
    ),
  )
}

describe.each(pages)('%s', (page) => {
  test('every link within the project leads somewhere', () => {
    const broken = [...proseOf(page).matchAll(/\]\(([^)\s]+)\)/g)]
      .map(([, target = '']) => target)
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => {
        const [path = '', anchor] = target.split('#')
        const file = path === '' ? page : resolve(root, dirname(page), path).slice(root.length + 1)
        if (!existsSync(join(root, file))) return true
        return anchor !== undefined && file.endsWith('.md') && !anchorsOf(file).has(anchor)
      })
    expect(broken).toEqual([])
  })

  test('every block says what language it is in, one that is done something with', () => {
    const known = new Set(['sh', 'yaml', 'json', 'ts', 'text'])
    const others = readBlocks(page).filter(
      (block) => !known.has(block.language) && !isException(block),
    )
    expect(others.map((block) => `${placeOf(block)} ${block.language}`)).toEqual([])
  })
})

const folders = ['src', 'test', 'docs', 'scripts', 'examples', 'config', 'systemd', 'bin'] as const
const districts = new Set(readdirSync(join(root, 'src')))
const sources = new Set(
  ['src', 'test'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) =>
      basename(path),
    ),
  ),
)

/** Whether a text in a page names a file or folder of the project that there is not. */
function isMissing(text: string): boolean {
  const [first = '', ...rest] = text.split('/')
  // A pattern, or a name with a part to fill in.
  if (/[*<…,{$]/.test(text)) return false
  if (rest.length === 0) return /^[\w-]+\.ts$/.test(text) && !sources.has(text)
  if (folders.some((folder) => folder === first)) return !existsSync(join(root, text))
  return districts.has(first) && !existsSync(join(root, 'src', text))
}

test.each([...pages, 'CONTRIBUTING.md'])(
  '%s: every file of the project that it names is there',
  (page) => {
    const spans = [...proseOf(page).matchAll(/`([^`\s]+)`/g)].map(([, text = '']) => text)
    expect(spans.filter(isMissing)).toEqual([])
  },
)

test('the README is short', () => {
  expect(readPage('README.md').trimEnd().split('\n').length).toBeLessThanOrEqual(150)
})

test('there is no exception without its block', () => {
  const stale = Object.entries(exceptions).flatMap(([page, lines]) =>
    Object.keys(lines).filter(
      (line) => !blocks.some((block) => block.page === page && firstLine(block) === line),
    ),
  )
  expect(stale).toEqual([])
})

test('the shell reads every shell block', () => {
  const wrong = ofLanguage('sh').flatMap((block) => {
    const { status, stderr } = spawnSync('bash', ['-n'], { input: block.text, encoding: 'utf8' })
    return status === 0 ? [] : [`${placeOf(block)}: ${stderr}`]
  })
  expect(wrong).toEqual([])
})

test('the example of the library in README.md is ten lines', () => {
  const lines = ofLanguage('ts').flatMap(({ page, text }) =>
    page === 'README.md' ? text.split('\n') : [],
  )
  expect(lines).toHaveLength(10)
})

test('every json block is JSON', () => {
  for (const { text } of ofLanguage('json')) JSON.parse(text)
})

test('every message that a page explains is one of the program', () => {
  const names = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  const source = names
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(join(root, 'src', name), 'utf8'))
    .join('\n')
  // Tables of messages: the first column holds part of one.
  const phrases = pages.flatMap((page) =>
    [...proseOf(page).matchAll(/^\| (?:the message says|message) .*\n\|[ |-]+\n((?:\|.*\n)+)/gm)]
      .flatMap(([, rows = '']) => [...rows.matchAll(/^\| `([^`]+)`/gm)])
      .map(([, phrase = '']) => phrase),
  )
  expect(phrases.length).toBeGreaterThan(10)
  expect(phrases.filter((phrase) => !source.includes(phrase))).toEqual([])
})

const database = 'dbs:\n  - path: /data/app.db\n    replicas:\n      - path: /backup/app\n'

/** A part of a configuration as a whole one; what may come alone is a list of databases, replicas, or keys outside of `dbs`. */
function wholeOf(text: string): string {
  const parsed: unknown = parse(text)
  const indented = (by: string): string => text.replaceAll(/^(?=.)/gm, by)
  if (Array.isArray(parsed)) return `dbs:\n${indented('  ')}`
  if (typeof parsed !== 'object' || parsed === null) return text
  if ('dbs' in parsed) return text
  return 'replicas' in parsed
    ? `dbs:\n  - path: /data/app.db\n${indented('    ')}`
    : `${text}\n${database}`
}

test.each(ofLanguage('yaml').map((block) => [placeOf(block), block] as const))(
  'the configuration at %s is right',
  async (_, block) => {
    if (isException(block)) {
      expect(parse(block.text)).toBeTypeOf('object')
      return
    }
    const path = join(folder, 'tsreplicate.yml')
    writeFileSync(path, wholeOf(block.text))
    // Every variable that it names is set.
    const names = [...block.text.matchAll(/\$\{?(\w+)/g)].map(([, name = '']) => name)
    const env = Object.fromEntries(names.map((name) => [name, 'value']))
    expect((await loadConfig({ path, env })).warnings).toEqual([])
  },
)
