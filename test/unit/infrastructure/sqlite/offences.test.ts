import { beforeEach, expect, test } from 'vitest'
import { Offences } from '../../../../src/infrastructure/sqlite/offences.js'

const mallory = { owner: 1000, why: 'SIGBUS' }
const minute = 60_000

let nowMs: number
let offences: Offences

beforeEach(() => {
  nowMs = 0
  offences = new Offences(() => nowMs)
})

/** For how long it is held back. */
function heldMs(database: number): number {
  const fromMs = nowMs
  const isHeld = (): boolean => {
    try {
      offences.refuseHeld(database)
      return false
    } catch {
      return true
    }
  }
  while (isHeld()) nowMs += 500
  return nowMs - fromMs
}

test('a database is held back for longer each time, up to minutes', () => {
  const pauses = Array.from({ length: 10 }, () => {
    offences.blame(1, mallory)
    return heldMs(1) / 1000
  })
  expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300])
})

test('what counts is the owner, and only the database is held back', () => {
  offences.blame(1, mallory)
  offences.blame(2, mallory)
  expect([heldMs(2), heldMs(3)]).toEqual([2000, 0])
  expect([offences.isOffender(1000), offences.isOffender(1001)]).toEqual([true, false])
})

test('pauses are short again after ten minutes without harm, and it is not forgotten', () => {
  offences.blame(1, mallory)
  heldMs(1)
  nowMs += 10 * minute
  expect(offences.isOffender(1000)).toBe(true)
  offences.blame(1, mallory)
  expect(heldMs(1)).toBe(1000)
})

test('it is said what has ended the process, and what to do', () => {
  offences.blame(1, mallory)
  offences.blame(1, mallory)
  expect(() => offences.refuseHeld(1)).toThrow(
    /^it has ended the process in which SQLite reads it \(SIGBUS\), as databases of its owner did 2 times of late: it is not replicated until \d{4}-/,
  )
})
