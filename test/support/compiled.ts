/** Libraries to preload into a process, compiled from the C files of this folder. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from './cli.ts'

/** Without a C compiler there are none. */
export const hasCompiler = spawnSync('cc', ['--version']).status === 0

const compiled = new Map<string, string>()

/** The path of `<name>.c` as a library, compiled at the first call. */
export function preloadable(name: string): string {
  const known = compiled.get(name)
  if (known !== undefined) return known
  const folder = mkdtempSync(join(tmpdir(), `tsreplicate-${name}-`))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const library = join(folder, `${name}.so`)
  const source = join(root, 'test/support', `${name}.c`)
  execFileSync('cc', ['-O1', '-shared', '-fPIC', '-o', library, source, '-ldl'])
  compiled.set(name, library)
  return library
}
