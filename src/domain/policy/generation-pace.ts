/**
 * How fast generations may follow each other. Each sends the whole database, and what makes one begin may go on: a damaged
 * WAL, somebody who writes the file, a replica that forgets.
 */
import { pauseAfter } from '../../kit/pause.js'

/** Those further apart than this have nothing to do with each other. */
const windowMs = 60 * 60_000
const pauses = { firstMs: 1000, mostMs: 5 * 60_000 }

/** So many within so long are worth an alarm: a start, a takeover and a file that is replaced are fewer. */
const alarmingCount = 5
const alarmWindowMs = 10 * 60_000

/** How long the next generation has to wait after those that began at these moments, in order; 0: it may begin. */
export function generationWaitMs(beganAtMs: readonly number[], nowMs: number): number {
  const recent = beganAtMs.filter((each) => each > nowMs - windowMs)
  const last = recent.at(-1)
  if (last === undefined) return 0
  return Math.max(0, last + pauseAfter(recent.length, pauses) - nowMs)
}

/** How many generations began lately, if they keep beginning; else undefined. */
export function generationsLately(
  beganAtMs: readonly number[],
  nowMs: number,
): { readonly count: number; readonly withinMs: number } | undefined {
  const recent = beganAtMs.filter((each) => each > nowMs - alarmWindowMs)
  const [first] = recent
  if (first === undefined || recent.length < alarmingCount) return undefined
  return { count: recent.length, withinMs: nowMs - first }
}

/** As many moments as the rules above look at. */
export const rememberedGenerations = 16
