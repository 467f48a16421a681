import { readFileSync } from 'node:fs'
import { packageFile } from '../../compose/package-file.js'

export function version(): string {
  const text = readFileSync(packageFile('package.json'), 'utf8')
  const parsed: unknown = JSON.parse(text)
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed
    ? `v${String(parsed.version)}`
    : 'unknown'
}
