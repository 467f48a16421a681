import { describe, expect, test } from 'vitest'
import {
  type DatabaseDetails,
  findHanging,
  findNotReady,
  longest,
  type CaptureState,
  type ReplicaDetails,
} from '../../../src/domain/status.js'
import {
  databaseStatus as database,
  replicaStatus as replica,
} from '../../support/sample-status.ts'

const failure = { message: 'the store is away', kind: 'REPLICA', atMs: 1, isOver: false }

describe('findNotReady', () => {
  const reasonOf = (
    change: Partial<ReplicaDetails>,
    ofDatabase: Partial<DatabaseDetails> = {},
  ): string | undefined =>
    findNotReady([{ ...database, ...ofDatabase, replicas: [{ ...replica, ...change }] }])[0]?.reason

  test.each<[string, Partial<ReplicaDetails>, string | undefined]>([
    ['all is stored', {}, undefined],
    ['at the limit', { lagMs: 300_000, confirmedLagMs: 300_000 }, undefined],
    [
      'past the limit',
      { lagMs: 361_400, confirmedLagMs: 361_400 },
      'commits have been waiting for 6m1s to be stored, the limit is 5m0s',
    ],
    [
      'with the failure that lasts',
      { lagMs: 361_400, confirmedLagMs: 361_400, lastFailure: failure },
      'commits have been waiting for 6m1s to be stored, the limit is 5m0s: the store is away',
    ],
    [
      'without the failure that is over',
      { lagMs: 361_400, confirmedLagMs: 361_400, lastFailure: { ...failure, isOver: true } },
      'commits have been waiting for 6m1s to be stored, the limit is 5m0s',
    ],
    [
      'no snapshot',
      { lagMs: 400_000, confirmedLagMs: 400_000, hasSnapshot: false },
      'there has been no snapshot of the current generation for 6m40s, the limit is 5m0s',
    ],
    [
      'acknowledged, and not there',
      { confirmedLagMs: 301_000 },
      'the store acknowledged commits 5m1s ago, but has not listed them since, the limit is 5m0s',
    ],
    [
      'nothing is known yet, as right after the start',
      { isKnownRestorable: false, hasSnapshot: false },
      'nothing that can be restored has been seen there since the start',
    ],
    [
      'nothing is known, and why',
      { isKnownRestorable: false, hasSnapshot: false, lastFailure: failure },
      'nothing that can be restored has been seen there since the start: the store is away',
    ],
    ['another owner', { refusal: 'taken over by host b' }, 'taken over by host b'],
  ])('%s', (_, change, reason) => {
    expect(reasonOf(change)).toBe(reason)
  })

  test('not where there is no database yet', () => {
    expect(
      reasonOf({ isKnownRestorable: false, hasSnapshot: false }, { state: 'waiting' }),
    ).toBeUndefined()
  })

  test('checkpoints that keep failing', () => {
    expect(reasonOf({}, { copyingProblem: 'disk I/O error' })).toBe(
      'WAL pages cannot be copied back into the database file, and its -wal grows: disk I/O error',
    )
  })

  test('another name of the file', () => {
    expect(reasonOf({}, { fileProblem: 'it has 2 names' })).toBe('it has 2 names')
  })

  test('a database of which nothing was ever captured, at once', () => {
    const refused = { message: 'it has 2 names', kind: 'DATABASE', atMs: 1, isOver: false }
    const never = { state: 'failing', position: undefined, lastFailure: refused } as const
    expect(reasonOf({}, never)).toBe('no commits are captured: it has 2 names')
    expect(reasonOf({}, { ...never, state: 'replicating' })).toBeUndefined()
  })

  test('generations that do not last', () => {
    expect(reasonOf({}, { generationsLately: { count: 6, withinMs: 61_500 } })).toBe(
      'new generations keep beginning, 6 in the last 1m2s: the log says why',
    )
  })

  test('names the failure of the database first', () => {
    const lost = { message: 'database is locked', kind: 'DATABASE', atMs: 1, isOver: false }
    expect(
      reasonOf(
        { lagMs: 400_000, confirmedLagMs: 400_000, lastFailure: failure },
        { lastFailure: lost },
      ),
    ).toMatch(/: database is locked$/)
  })
})

test('a loop hangs that has been silent for minutes, unless it has ended', () => {
  expect(findHanging([database])).toEqual([])
  expect(findHanging([{ ...database, silentMs: 301_000 }])[0]?.reason).toContain('5m1s')
  expect(findHanging([{ ...database, silentMs: 301_000, state: 'ended' }])).toEqual([])
})

test('a lag is the longest of what waits', () => {
  expect(longest([undefined, 300, 600])).toBe(600)
  expect(longest([undefined])).toBe(0)
  expect(longest([])).toBe(0)
})

test('where nothing is known to be restorable, a database that is there is not ready', () => {
  const notReady = (state: CaptureState): number =>
    findNotReady([{ ...database, state, replicas: [{ ...replica, isKnownRestorable: false }] }])
      .length
  const states: readonly CaptureState[] = ['opening', 'replicating', 'failing', 'gone']
  for (const state of states) expect(notReady(state)).toBeGreaterThan(0)
  expect(notReady('waiting')).toBe(0)
})
