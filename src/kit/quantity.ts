/** Numbers as people read them. */

/** `1 page`, `2 pages`; of a word that does not take an s, the plural is given. */
export function countOf(count: number, singular: string, plural = `${singular}s`): string {
  return `${count} ${count === 1 ? singular : plural}`
}

const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** A size with three or four digits: `812 B`, `1.23 kB`, `45.6 MB`. A unit has 1000 of the one before. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  // What would be rounded up to 1000 of a unit is 1 of the next.
  while (unit < units.length - 1 && value >= 999.5) {
    value /= 1000
    unit += 1
  }
  const decimals = unit === 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0
  return `${value.toFixed(decimals)} ${units[unit] ?? ''}`
}
