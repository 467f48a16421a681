import { expect, test } from 'vitest'
import { Complaints, type ComplaintsOptions } from '../../../src/usecase/complaints.ts'
import { type LogFields, type Logger } from '../../../src/usecase/ports/logger.ts'

function make(options: Partial<ComplaintsOptions> = {}) {
  const lines: [number, string, string, LogFields][] = []
  let now = 0
  const log =
    (level: string): Logger['info'] =>
    (fields, message) => {
      lines.push([now / 1000, level, message, fields])
    }
  const logger: Logger = {
    debug: log('debug'),
    info: log('info'),
    warn: log('warn'),
    error: log('error'),
    child: () => logger,
  }
  const complaints = new Complaints({
    logger,
    clock: { monotonic: () => now },
    phrases: { failed: 'it fails', recovered: 'it works again' },
    ...options,
  })
  return {
    lines,
    complaints,
    failAt: (seconds: number, kind: string) => {
      now = seconds * 1000
      complaints.say(kind, { fields: { kind } })
    },
  }
}

test('a problem is said once, until there is another or it is over', () => {
  const { lines, complaints, failAt } = make()
  complaints.recovered()
  failAt(0, 'a')
  failAt(1_000_000, 'a')
  failAt(1_000_001, 'b')
  failAt(1_000_002, 'a')
  complaints.recovered()
  complaints.recovered()
  failAt(1_000_003, 'a')
  expect(lines).toEqual([
    [0, 'error', 'it fails', { kind: 'a' }],
    [1_000_001, 'error', 'it fails', { kind: 'b' }],
    [1_000_002, 'error', 'it fails', { kind: 'a' }],
    [1_000_002, 'info', 'it works again', {}],
    [1_000_003, 'error', 'it fails', { kind: 'a' }],
  ])
})

test('one that lasts is said again after a while', () => {
  const { lines, failAt } = make({ repeatMs: 60_000 })
  for (let seconds = 0; seconds <= 150; seconds += 10) failAt(seconds, 'a')
  expect(lines.map(([seconds]) => seconds)).toEqual([0, 60, 120])
})

test('some time lies between two, be they different or one that came back', () => {
  const { lines, complaints, failAt } = make({ repeatMs: 60_000, betweenMs: 30_000 })
  failAt(0, 'a')
  failAt(10, 'b')
  complaints.recovered()
  failAt(20, 'a')
  // What was not said is not over, either.
  complaints.recovered()
  failAt(30, 'a')
  failAt(60, 'c')
  expect(lines.map(([seconds, level]) => `${seconds} ${level}`)).toEqual([
    '0 error',
    '10 info',
    '30 error',
    '60 error',
  ])
})

test('an error is under err, beside the fields of each line; its end is said where there are words for it', () => {
  const { lines, complaints } = make({ phrases: { failed: 'it fails' }, fields: { dir: '/data' } })
  const err = new Error('no space')
  complaints.report(err, { generation: 'x' })
  complaints.recovered()
  expect(lines).toEqual([[0, 'error', 'it fails', { dir: '/data', generation: 'x', err }]])
})

test('a milder one has its own level and words', () => {
  const { lines, complaints } = make()
  complaints.say('busy', { level: 'warn', phrase: 'waiting', fields: { why: 'busy' } })
  expect(lines).toEqual([[0, 'warn', 'waiting', { why: 'busy' }]])
})
