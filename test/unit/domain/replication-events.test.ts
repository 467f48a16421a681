import { describe, expect, test } from 'vitest'
import {
  findTroubles,
  Happenings,
  StandingTroubles,
  type Trouble,
} from '../../../src/domain/replication-events.js'
import { type DatabaseDetails, type ReplicaDetails } from '../../../src/domain/status.js'
import { formatGeneration } from '../../../src/domain/wal/generation.js'
import { databaseStatus, generation, replicaStatus } from '../../support/sample-status.ts'

const failure = { message: 'the store is away', kind: 'REPLICA', atMs: 1, isOver: false }
const of = { database: databaseStatus.path, replica: replicaStatus.name }

const status = (
  ofReplica: Partial<ReplicaDetails>,
  ofDatabase: Partial<DatabaseDetails> = {},
): readonly DatabaseDetails[] => [
  { ...databaseStatus, ...ofDatabase, replicas: [{ ...replicaStatus, ...ofReplica }] },
]

describe('findTroubles', () => {
  test('finds none where all is well', () => {
    expect(findTroubles(status({}), [])).toEqual([])
    expect(findTroubles(status({ lastFailure: { ...failure, isOver: true } }), [])).toEqual([])
  })

  test('finds what a replica fails with, and that it is late', () => {
    const late = { lagMs: 301_000, confirmedLagMs: 301_000 }
    const reason =
      'commits have been waiting for 5m1s to be stored, the limit is 5m0s: the store is away'
    expect(findTroubles(status({ ...late, lastFailure: failure }), [])).toEqual([
      { name: 'problem', event: { ...of, code: 'REPLICA', message: 'the store is away' } },
      { name: 'lag', event: { ...of, lagMs: 301_000, maxLagMs: 300_000, reason } },
    ])
  })

  test('of a replica that was taken over nothing else is said', () => {
    const refusal = 'taken over by somebody'
    expect(
      findTroubles(status({ refusal, confirmedLagMs: 1e9, lastFailure: failure }), []),
    ).toEqual([{ name: 'taken-over', event: { ...of, reason: refusal } }])
  })

  test('finds what keeps a database from being captured, or opened', () => {
    const ofAll = { database: databaseStatus.path, replica: undefined }
    const locked = { ...failure, kind: 'DATABASE', message: 'it is locked' }
    expect(findTroubles(status({}, { state: 'failing', lastFailure: locked }), [])).toEqual([
      { name: 'problem', event: { ...ofAll, code: 'DATABASE', message: 'it is locked' } },
    ])
    expect(findTroubles(status({}, { fileProblem: 'it was replaced' }), [])).toEqual([
      { name: 'problem', event: { ...ofAll, code: 'OTHER', message: 'it was replaced' } },
    ])
    expect(findTroubles([], [{ ...ofAll, reason: 'it cannot be replicated' }])).toEqual([
      { name: 'problem', event: { ...ofAll, code: 'OTHER', message: 'it cannot be replicated' } },
    ])
  })
})

describe('StandingTroubles', () => {
  const problem = (code: string, message = ''): Trouble => ({
    name: 'problem',
    event: { ...of, code, message },
  })

  test('a trouble is told once, again when it is another one, and that it is over', () => {
    const standing = new StandingTroubles()
    expect(standing.become([problem('A')], 1000)).toEqual([problem('A')])
    expect(standing.become([problem('A', 'in other words')], 2000)).toEqual([])
    expect(standing.become([problem('B')], 3000)).toEqual([problem('B')])
    expect(standing.become([], 5000)).toEqual([
      { name: 'recovered', event: { ...of, from: 'problem', lastedMs: 4000 } },
    ])
    expect(standing.become([], 6000)).toEqual([])
    expect(standing.become([problem('A')], 7000)).toEqual([problem('A')])
  })
})

describe('Happenings', () => {
  const began = { totals: { ...databaseStatus.totals, generations: { 'no wal': 1 } } }
  const position = { generation, index: 0, offset: 4152 }
  const newGeneration = {
    name: 'new-generation',
    event: { database: of.database, generation, reason: 'no wal' },
  }

  test('the first look tells what this process has begun and stored, and what was there before it does not', () => {
    expect(new Happenings().since(status({}))).toEqual([])
    expect(new Happenings().since(status({ lastStoredAtMs: 7 }, began))).toEqual([
      newGeneration,
      { name: 'stored', event: { ...of, position: replicaStatus.position, storedAtMs: 7 } },
    ])
  })

  test('each look tells what has come since the one before', () => {
    const happenings = new Happenings()
    happenings.since(status({ lastStoredAtMs: 7 }, began))
    expect(happenings.since(status({ lastStoredAtMs: 7 }, began))).toEqual([])
    expect(happenings.since(status({ lastStoredAtMs: 8, position }, began))).toEqual([
      { name: 'stored', event: { ...of, position, storedAtMs: 8 } },
    ])
  })

  test('what cannot be restored yet is not stored', () => {
    const change = { lastStoredAtMs: 7, position }
    expect(new Happenings().since(status({ ...change, hasSnapshot: false }))).toEqual([])
    expect(new Happenings().since(status({ ...change, refusal: 'taken over' }))).toEqual([])
  })

  test('a generation that is counted and not there yet is told when it is, with its own reason', () => {
    const happenings = new Happenings()
    happenings.since(status({}, began))
    const generations = { 'no wal': 1, 'wal replaced': 1 }
    const counted = { totals: { ...databaseStatus.totals, generations } }
    expect(happenings.since(status({}, counted))).toEqual([])
    const next = formatGeneration(new Uint8Array(8).fill(1))
    const there = { ...counted, position: { generation: next, index: 0, offset: 0 } }
    expect(happenings.since(status({ position: undefined }, there))).toEqual([
      {
        name: 'new-generation',
        event: { database: of.database, generation: next, reason: 'wal replaced' },
      },
    ])
  })
})
