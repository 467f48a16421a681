import { expect, test } from 'vitest'
import { type DaemonStatus, type NotReady } from '../../../src/domain/status.js'
import { summarizeComplaints } from '../../../src/domain/summarize-complaints.js'
import { statusAnswer, verdict } from '../../../src/delivery/daemon/health-server.js'

const reasonOf = (user: number): string =>
  `it cannot be replicated: no room for one more database of user ${user} under the limit of 1024 open files`

const refused = (count: number, folder: string, user = 1000): NotReady[] =>
  Array.from({ length: count }, (_, i) => ({
    ...{ database: `${folder}/${i}.db`, replica: undefined, reason: reasonOf(user) },
  }))

test('20,000 databases of one owner are one line, and nobody else is hidden by it', () => {
  const others = refused(2, '/homes/bob', 1001)
  const complaints = [...refused(20_000, '/homes/adam'), ...others]
  const { status, text } = verdict(undefined, complaints, 'ready')
  expect(status).toBe(503)
  expect(text.split('\n')).toEqual([
    `/homes/adam/0.db: ${reasonOf(1000)} (and so are 19999 others, as /homes/adam/1.db and /homes/adam/2.db)`,
    ...others.map(({ database, reason }) => `${database}: ${reason}`),
    '',
  ])
  const asJson = verdict('application/json', complaints, 'ready')
  expect(JSON.parse(asJson.text)).toMatchObject({ ready: false, reasons: { length: 3 } })
})

test('reasons that differ by a path or a time alone are of one kind, those of two replicas are not', () => {
  const late = (replica: string): NotReady[] =>
    refused(100, '/homes/adam').map((each, i) => ({
      ...each,
      replica,
      reason: `${each.database}-wal: commits have been waiting for ${i}m${i}s to be stored`,
    }))
  expect(summarizeComplaints([...late('s3'), ...late('file')])).toHaveLength(2)
})

test('ten of one kind are told one by one', () => {
  const ten = refused(10, '/homes/adam')
  expect(summarizeComplaints(ten)).toEqual(ten)
})

test('there is an end to reasons, too', () => {
  const complaints = refused(20_000, '/homes/adam').map((each, i) => ({
    ...each,
    reason: `reason ${i}`,
  }))
  const lines = summarizeComplaints(complaints)
  expect(lines).toHaveLength(501)
  expect(lines.at(-1)?.reason).toBe('reason 500 (and there is more: see tsreplicate status)')
})

test('a status has all of 20,000, unless their names are too long for an answer', () => {
  const of = (complaints: NotReady[]): string => {
    const status = { notReady: complaints, databases: [] } as unknown as DaemonStatus
    return statusAnswer(status).text
  }
  const all = of(refused(20_000, '/homes/adam'))
  expect(JSON.parse(all)).toMatchObject({ notReady: { length: 20_000 } })
  expect(all.length).toBeLessThan(8_000_000)
  const long = of(refused(1000, `/homes/${'\u0001'.repeat(4000)}`))
  expect(long.length).toBeLessThan(200_000)
  expect(JSON.parse(long)).toMatchObject({ notReady: { length: 1 } })
})
