import { formatDuration } from '../../kit/duration.js'
import { printable } from '../../kit/printable.js'

/** Columns padded to the widest cell and two spaces, the last one not padded. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const lines = [header, ...rows.map((cells) => cells.map((cell) => printable(cell)))]
  const widths = header.map((_, column) => {
    let width = 0
    for (const line of lines) width = Math.max(width, line[column]?.length ?? 0)
    return width
  })
  return lines
    .map((cells) =>
      cells
        .map((cell, i) => (i === header.length - 1 ? cell : cell.padEnd((widths[i] ?? 0) + 2)))
        .join(''),
    )
    .map((line) => `${line}\n`)
    .join('')
}

/** RFC 3339 in UTC, whole seconds. */
export function formatTime(timeMs: number): string {
  return `${new Date(Math.floor(timeMs / 1000) * 1000).toISOString().slice(0, 19)}Z`
}

/** A lag with the precision that fits its size, in Go's style. */
export function formatLag(lagMs: number): string {
  const size = Math.abs(lagMs)
  const unit = size > 10_000 ? 1000 : size > 1000 ? 100 : size > 1 ? 1 : 0.001
  return formatDuration(Math.trunc(lagMs / unit) * unit)
}
