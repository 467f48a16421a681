import { readFileSync } from 'node:fs'

/** The version in package.json, which lies as far from the sources as from what is built of them. */
export function version(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  const parsed: unknown = JSON.parse(text)
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed
    ? `v${String(parsed.version)}`
    : 'unknown'
}
