/** Licences of packages that are in the lock file, as a document. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

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
  const names = readdirSync(folder).sort()
  const texts = [/^(licen[cs]e|copying)([.-]|$)/i, /^notice([.-]|$)/i]
    .map((pattern) => names.find((name) => pattern.test(name)))
    .filter((name) => name !== undefined)
    .map((name) => readFileSync(join(folder, name), 'utf8').replaceAll('\r\n', '\n').trim())
  return texts.length === 0 ? undefined : texts.join('\n\n')
}

/** Of the packages that are no tools of the checkout; `isWanted` is asked for the folder of each. */
export function licences(
  introduction: readonly string[],
  isWanted: (folder: string) => boolean = () => true,
): string {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: Record<string, LockedPackage>
  }
  const notices = Object.entries(packages)
    .filter(([path, { dev, peer }]) => path !== '' && dev !== true && peer !== true)
    .filter(([path]) => isWanted(path))
    .map(([path, { version, license, optional }]) => ({
      name: path.replace(/^.*node_modules\//, ''),
      version,
      licence: license ?? 'not stated',
      text: optional === true ? undefined : licenceText(path),
    }))
    .sort((a, b) => a.name.localeCompare(b.name) || a.version.localeCompare(b.version))
  return format(introduction, notices)
}

function format(introduction: readonly string[], all: readonly Notice[]): string {
  const byText = new Map<string, string[]>()
  for (const { name, version, text } of all) {
    if (text !== undefined) byText.set(text, [...(byText.get(text) ?? []), `${name} ${version}`])
  }
  const lines = [
    '# Third-party notices',
    '',
    ...introduction,
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
