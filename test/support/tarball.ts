/** Packs the folder `package`, as `npm run pack` does, for tests that install it into projects of their own. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestProject } from 'vitest/node'

declare module 'vitest' {
  interface ProvidedContext {
    /** The path of the packed package. */
    readonly tarball: string
  }
}

const source = join(import.meta.dirname, '../../package')

export default function setup(project: TestProject): () => void {
  if (!existsSync(source)) throw new Error('there is no package: run "npm run bundle" first')
  const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-tarball-'))
  const args = ['pack', '--silent', '--pack-destination', folder, source]
  const name = execFileSync('npm', args, { encoding: 'utf8' }).trim()
  project.provide('tarball', join(folder, name))
  return () => rmSync(folder, { recursive: true })
}
