import { expect, test } from 'vitest'
import { type DatabaseDetails } from '../../../../src/domain/status.js'
import { type News, NoticeEvents } from '../../../../src/usecase/daemon/notice-events.js'
import { ManualClock } from '../../../support/manual-clock.ts'
import { databaseStatus, replicaStatus } from '../../../support/sample-status.ts'

const stored: DatabaseDetails = {
  ...databaseStatus,
  replicas: [{ ...replicaStatus, lastStoredAtMs: 7 }],
}
const unreadable = { database: '/tenants', replica: undefined, reason: 'it cannot be read' }

test('a look tells what is new, and one that finds nothing is silent', async () => {
  const clock = new ManualClock()
  const told: News[] = []
  const replication = { status: () => [stored], failing: [unreadable], neverBegun: [] }
  const events = new NoticeEvents({
    replication,
    clock,
    tell: (news) => told.push(news),
  })
  const stop = new AbortController()
  const running = events.run(stop.signal)
  await clock.advance(2000)
  const problem = { name: 'problem', event: { code: 'OTHER', database: '/tenants' } }
  expect(told).toMatchObject([{ happenings: [{ name: 'stored' }], troubles: [problem] }])
  replication.failing = []
  await clock.advance(2000)
  expect(told.slice(1)).toEqual([{ happenings: [], troubles: [] }])
  stop.abort()
  await running
})
