/** What the archives take from npm, for whichever platform: fetched as npm keeps it, and only with the content that is known here. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import integrities from './runtime-integrity.json' with { type: 'json' }

export const architectures = ['x64', 'arm64'] as const
export type Architecture = (typeof architectures)[number]

interface Locked {
  readonly version: string
  readonly integrity?: string
}

const { packages: locked } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
  readonly packages: Readonly<Record<string, Locked>>
}

function lockedPackage(name: string): Locked {
  const found = locked[`node_modules/${name}`]
  if (found === undefined) throw new Error(`${name} is not in package-lock.json`)
  return found
}

/** Of the Node.js that the archives bring: what the tests run with. */
export const runtimeVersion = lockedPackage('node').version

/** Fetches the Node.js of a platform into a folder below `place`. */
export function fetchRuntime(architecture: Architecture, place: string): string {
  const name = `node-linux-${architecture}`
  const known: Readonly<Record<string, Readonly<Record<Architecture, string>>>> = integrities
  const integrity = known[runtimeVersion]?.[architecture]
  if (integrity === undefined) {
    throw new Error(
      `scripts/release/runtime-integrity.json does not say what ${name} ${runtimeVersion} is: npm view ${name}@${runtimeVersion} dist.integrity`,
    )
  }
  return fetchPackage({ name, version: runtimeVersion, integrity }, place)
}

/** Fetches a package of the lock file that may be for another platform. */
export function fetchLocked(name: string, place: string): string {
  const { version, integrity } = lockedPackage(name)
  if (integrity === undefined) throw new Error(`package-lock.json does not say what ${name} is`)
  return fetchPackage({ name, version, integrity }, place)
}

function fetchPackage(
  { name, version, integrity }: { name: string; version: string; integrity: string },
  place: string,
): string {
  const folder = join(place, name.replaceAll('/', '+'))
  mkdirSync(folder, { recursive: true })
  const fetched = execFileSync(
    'npm',
    [
      ...['pack', '--silent', '--prefer-offline', '--ignore-scripts'],
      ...['--pack-destination', folder, `${name}@${version}`],
    ],
    { encoding: 'utf8' },
  )
  const tarball = join(folder, fetched.trim())
  const found = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`
  if (found !== integrity) {
    throw new Error(`${name} ${version} is not what it was: ${found}, and not ${integrity}`)
  }
  execFileSync('tar', ['--extract', '--gzip', '--file', tarball, '--directory', folder])
  return join(folder, 'package')
}
