/** Packs the folder `package` and installs it into the empty folder `.installed`, with no script of any package. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const installation = join(import.meta.dirname, '../../.installed')

export default function setup(): void {
  rmSync(installation, { recursive: true, force: true })
  mkdirSync(installation)
  const npm = (...args: string[]) =>
    execFileSync('npm', args, { cwd: installation, encoding: 'utf8' })
  const tarball = npm('pack', '--silent', '../package').trim()
  writeFileSync(join(installation, 'package.json'), '{"private":true,"type":"module"}')
  npm('install', '--ignore-scripts', '--prefer-offline', '--silent', `./${tarball}`)
}
