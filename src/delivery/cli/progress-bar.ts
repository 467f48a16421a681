import { type RestoreProgress } from '../../usecase/restore-types.js'

/** Shows on a terminal how far a restore has got; elsewhere nothing. */
export function createProgressBar(stream: NodeJS.WriteStream): {
  update: (progress: RestoreProgress) => void
  clear: () => void
} {
  if (!stream.isTTY) return { update: () => undefined, clear: () => undefined }
  const startMs = performance.now()
  let shownMs = Number.NEGATIVE_INFINITY
  let shownPhase: string | undefined
  return {
    update({ phase, doneBytes, totalBytes }) {
      const nowMs = performance.now()
      if (phase === shownPhase && nowMs - shownMs < 100) return
      shownMs = nowMs
      shownPhase = phase
      stream.write(`\r\x1b[K${describe(phase, doneBytes, totalBytes, (nowMs - startMs) / 1000)}`)
    },
    clear: () => void stream.write('\r\x1b[K'),
  }
}

function describe(phase: string, done: number, total: number, seconds: number): string {
  if (phase === 'check') return 'checking'
  if (total === 0) return phase
  const share = Math.min(1, done / total)
  const filled = Math.round(share * 30)
  const bar = '#'.repeat(filled).padEnd(30, '.')
  const bytesPerSecond = done / Math.max(seconds, 0.001)
  const eta = bytesPerSecond > 0 ? `${Math.ceil((total - done) / bytesPerSecond)}s` : '?'
  const rate = `${(bytesPerSecond / 1e6).toFixed(1)} MB/s`
  return `${phase.padEnd(8)} [${bar}] ${Math.floor(share * 100)}%  ${rate}  ETA ${eta}`
}
