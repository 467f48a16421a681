/**
 * `npm run notices`: writes THIRD-PARTY-NOTICES.md, the licences of all packages that come with tsreplicate when it is
 * installed, from the lock file and node_modules. With `--check` it ends with 1 if the file is not what it would write.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const file = 'THIRD-PARTY-NOTICES.md'

interface LockedPackage {
  readonly version: string
  readonly license?: string
  readonly dev?: boolean
  readonly optional?: boolean
  readonly peer?: boolean
}

interface Notice {
  readonly name: string
  readonly version: string
  readonly licence: string
  /** Undefined: it is for one platform and may not be installed here, or it brings none. */
  readonly text: string | undefined
}

function licenceText(folder: string): string | undefined {
  if (!existsSync(folder)) return undefined
  const name = readdirSync(folder)
    .sort()
    .find((entry) => /^(licen[cs]e|copying)([.-]|$)/i.test(entry))
  if (name === undefined) return undefined
  return readFileSync(join(folder, name), 'utf8').replaceAll('\r\n', '\n').trim()
}

function notices(): Notice[] {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, LockedPackage>
  }
  return Object.entries(packages)
    .filter(([path, { dev, peer }]) => path !== '' && dev !== true && peer !== true)
    .map(([path, { version, license, optional }]) => ({
      name: path.replace(/^.*node_modules\//, ''),
      version,
      licence: license ?? 'not stated',
      text: optional === true ? undefined : licenceText(path),
    }))
    .sort((a, b) => a.name.localeCompare(b.name) || a.version.localeCompare(b.version))
}

function format(all: readonly Notice[]): string {
  const byText = new Map<string, string[]>()
  for (const { name, version, text } of all) {
    if (text !== undefined) byText.set(text, [...(byText.get(text) ?? []), `${name} ${version}`])
  }
  const lines = [
    '# Third-party notices',
    '',
    'Packages that are installed with tsreplicate, and their licences. Written by `npm run notices`.',
    'better-sqlite3 contains SQLite, which is in the public domain.',
    '',
    '| package | version | licence |',
    '| --- | --- | --- |',
    ...all.map(({ name, version, licence }) => `| ${name} | ${version} | ${licence} |`),
  ]
  for (const [text, names] of byText) {
    const fence = text.includes('```') ? '````' : '```'
    lines.push('', `## ${[...new Set(names)].join(', ')}`, '', `${fence}text`, text, fence)
  }
  return `${lines.join('\n')}\n`
}

const wanted = format(notices())
if (!process.argv.includes('--check')) {
  writeFileSync(file, wanted)
} else if (!existsSync(file) || readFileSync(file, 'utf8') !== wanted) {
  process.stderr.write(`${file} is out of date: run "npm run notices"\n`)
  process.exitCode = 1
}
