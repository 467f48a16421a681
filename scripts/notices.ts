/**
 * `npm run notices`: writes THIRD-PARTY-NOTICES.md, the licences of all packages that tsreplicate is made with and that
 * are part of it, from the lock file and node_modules. With `--check` it ends with 1 if the file is not what it would
 * write. The package that is published has its own, of what is in it (see bundle.ts).
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { licences } from './licences.ts'

const file = 'THIRD-PARTY-NOTICES.md'
const wanted = licences([
  'Packages that tsreplicate is made of, and their licences. Written by `npm run notices`.',
  'better-sqlite3 contains SQLite, which is in the public domain.',
])
if (!process.argv.includes('--check')) {
  writeFileSync(file, wanted)
} else if (!existsSync(file) || readFileSync(file, 'utf8') !== wanted) {
  process.stderr.write(`${file} is out of date: run "npm run notices"\n`)
  process.exitCode = 1
}
