/** How long is waited after failures: after the first, and at most. */
export interface Pauses {
  readonly firstMs: number
  readonly mostMs: number
}

/** The pause after so many failures in a row, from 1: twice as long as after one fewer. */
export function pauseAfter(failures: number, { firstMs, mostMs }: Pauses): number {
  return Math.min(firstMs * 2 ** (failures - 1), mostMs)
}
