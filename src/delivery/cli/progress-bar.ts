import { formatBytes } from '../../kit/quantity.js'
import { type RestoreProgress } from '../../usecase/restore/restore-types.js'

/** The width of a terminal that does not tell its own. */
const defaultColumns = 80
const maxBarColumns = 30
/** A bar that is shorter says less than the percentage beside it. */
const minBarColumns = 5

/** Shows on a terminal how far a restore has got, on one line of it; elsewhere nothing. */
export function createProgressBar(stream: NodeJS.WriteStream): {
  update: (progress: RestoreProgress) => void
  clear: () => void
} {
  if (!stream.isTTY) return { update: () => undefined, clear: () => undefined }
  const startMs = performance.now()
  let shownMs = Number.NEGATIVE_INFINITY
  let shownPhase: string | undefined
  return {
    update(progress) {
      const nowMs = performance.now()
      if (progress.phase === shownPhase && nowMs - shownMs < 100) return
      shownMs = nowMs
      shownPhase = progress.phase
      // The last column stays free: some terminals begin a new line after it. One without a size says 0.
      const columns = (stream.columns || defaultColumns) - 1
      stream.write(`\r\x1b[K${describe(progress, (nowMs - startMs) / 1000, columns)}`)
    },
    clear: () => void stream.write('\r\x1b[K'),
  }
}

/** As much as there is room for: the bar gets shorter, then goes, then rate and time left do. */
function describe(
  { phase, doneBytes, totalBytes }: RestoreProgress,
  seconds: number,
  columns: number,
): string {
  if (phase === 'check') return 'checking'.slice(0, columns)
  if (totalBytes === 0) return phase.slice(0, columns)
  const share = Math.min(1, doneBytes / totalBytes)
  const bytesPerSecond = doneBytes / Math.max(seconds, 0.001)
  const left = bytesPerSecond > 0 ? Math.ceil((totalBytes - doneBytes) / bytesPerSecond) : undefined
  const name = phase.padEnd(8)
  const percentage = `${Math.floor(share * 100)}%`
  const rest = [
    percentage,
    `${formatBytes(bytesPerSecond)}/s`,
    `ETA ${left === undefined ? '?' : `${left}s`}`,
  ].join('  ')
  const barColumns = Math.min(maxBarColumns, columns - `${name} [] ${rest}`.length)
  if (barColumns >= minBarColumns) {
    const filled = Math.round(share * barColumns)
    return `${name} [${'#'.repeat(filled).padEnd(barColumns, '.')}] ${rest}`
  }
  const line = [`${name} ${rest}`, `${name} ${percentage}`].find((text) => text.length <= columns)
  return line ?? percentage.slice(0, columns)
}
