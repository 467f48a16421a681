/** Durations as Go writes them: one or more decimals with a unit, optionally signed, e.g. `1m30s`, `1.5h`, `-31ms`. */

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}

/** The duration in milliseconds, or undefined if `text` is none. */
export function parseDuration(text: string): number | undefined {
  const sign = text.startsWith('-') ? -1 : 1
  const body = /^[+-]/.test(text) ? text.slice(1) : text
  if (body === '0') return 0
  if (!/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(body)) return undefined
  let totalMs = 0
  for (const [, value = '', unit = ''] of body.matchAll(/([\d.]+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    totalMs += Number(value) * (unitMs[unit] ?? Number.NaN)
  }
  return totalMs === 0 ? 0 : sign * totalMs
}

/** As Go prints a duration: `0s`, `850µs`, `492ms`, `1.9s`, `2h3m4s`. */
export function formatDuration(durationMs: number): string {
  const sign = durationMs < 0 ? '-' : ''
  const ns = Math.round(Math.abs(durationMs) * 1e6)
  if (ns === 0) return '0s'
  const decimal = (value: number): string => String(Number(value.toFixed(9)))
  if (ns < 1e3) return `${sign}${ns}ns`
  if (ns < 1e6) return `${sign}${decimal(ns / 1e3)}µs`
  if (ns < 1e9) return `${sign}${decimal(ns / 1e6)}ms`
  const hours = Math.floor(ns / 3.6e12)
  const minutes = Math.floor((ns % 3.6e12) / 6e10)
  const seconds = decimal((ns % 6e10) / 1e9)
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}s`
  return minutes > 0 ? `${sign}${minutes}m${seconds}s` : `${sign}${seconds}s`
}
