/** What a run of the tests leaves out for want of something on this machine is said once, in its last lines. */
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const variable = 'TSREPLICATE_TEST_LAST_LINES'

/** Called by a test file, in whichever process it runs. */
export function sayAtTheEnd(line: string): void {
  const path = process.env[variable]
  if (path !== undefined) appendFileSync(path, `${line}\n`)
}

export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-lines-'))
  const path = join(folder, 'lines')
  process.env[variable] = path
  return () => {
    if (existsSync(path)) {
      const lines = new Set(readFileSync(path, 'utf8').split('\n'))
      process.stdout.write([...lines].join('\n'))
    }
    rmSync(folder, { recursive: true, force: true })
  }
}
