import { describe, expect, test } from 'vitest'
import {
  parseSnapshotAnswer,
  parseStatusAnswer,
  parseSyncAnswer,
  parseWantedAnswer,
} from '../../../../src/delivery/daemon/answers.ts'
import { type DaemonAnswer } from '../../../../src/delivery/daemon/ask-daemon.ts'
import { refusal } from '../../../../src/delivery/daemon/control.ts'
import {
  errorClasses,
  InUseError,
  NotRunningError,
  NotStoredError,
  ReplicaError,
} from '../../../../src/domain/errors.ts'

const answer = (value: unknown, status = 200): DaemonAnswer => ({
  status,
  contentType: 'application/json; charset=utf-8',
  text: typeof value === 'string' ? value : JSON.stringify(value),
})

const position = { generation: '0123456789abcdef', index: 1, offset: 4152 }
const stored = {
  database: '/data/app.db',
  position,
  commitTimeMs: 5,
  replicas: [{ name: 's3', storedAtMs: 6 }],
}
const withSnapshot = {
  ...stored,
  replicas: [{ name: 's3', storedAtMs: 6, snapshot: { index: 1, takenAtMs: 7 } }],
}
const status = {
  version: 'v1',
  pid: 5,
  startedAtMs: 6,
  notReady: [{ database: '/data/app.db', reason: 'late' }],
  databases: [{ path: '/data/app.db', state: 'replicating', replicas: [{ name: 's3' }] }],
  fileSystems: [],
}

const wanted = { path: '/a', replicas: [{ name: 's3', place: 's3://bucket/a' }] }

test('an answer of the right form is what it says', () => {
  expect(parseSyncAnswer(answer({ stored: [stored] }))).toEqual([stored])
  expect(parseSnapshotAnswer(answer({ stored: [withSnapshot] }))).toEqual([withSnapshot])
  expect(parseWantedAnswer(answer({ wanted: [wanted] }))).toEqual([wanted])
  expect(parseStatusAnswer(answer(status))).toEqual(status)
})

describe('any other answer is nobody to go by', () => {
  test.each<[string, (of: DaemonAnswer) => unknown, unknown]>([
    ['text', parseSyncAnswer, 'see /metrics\n'],
    ['nothing', parseSyncAnswer, ''],
    ['another object', parseSyncAnswer, {}],
    ['null', parseWantedAnswer, 'null'],
    ['what is not stored', parseSyncAnswer, { stored: [{ ...stored, position: undefined }] }],
    [
      'a wrong generation',
      parseSyncAnswer,
      { stored: [{ ...stored, position: { generation: 'x' } }] },
    ],
    ['no snapshot', parseSnapshotAnswer, { stored: [stored] }],
    ['a path that is none', parseWantedAnswer, { wanted: [wanted, { ...wanted, path: 5 }] }],
    ['a place that is none', parseWantedAnswer, { wanted: [{ ...wanted, replicas: [{}] }] }],
    ['a text for a list', parseWantedAnswer, { wanted: '/a' }],
    ['a status without databases', parseStatusAnswer, { ...status, databases: undefined }],
    ['a database without replicas', parseStatusAnswer, { ...status, databases: [{ path: '/a' }] }],
    ['half of it', parseStatusAnswer, JSON.stringify(status).slice(0, 40)],
  ])('%s', (_, parse, value) => {
    expect(() => parse(answer(value))).toThrow(NotRunningError)
    expect(() => parse(answer(value))).toThrow('the answer of the daemon is not understood')
  })

  test('an error without a code', () => {
    expect(() => parseSyncAnswer(answer({ error: 'no' }, 500))).toThrow(NotRunningError)
    expect(() => parseStatusAnswer(answer('cannot answer: EMFILE\n', 500))).toThrow(
      'not understood: cannot answer: EMFILE',
    )
  })
})

test('what a daemon refuses something with keeps its class, and what it says', () => {
  const missing = [{ database: '/a', replica: 's3', detail: 'the store is away' }]
  const error = { code: 'NOT_STORED', message: 'not within 1s', hint: 'wait', missing }
  const parse = (code: string) => () => parseSyncAnswer(answer({ error: { ...error, code } }, 504))
  expect(parse('NOT_STORED')).toThrow(expect.objectContaining(error) as Error)
  expect(parse('USAGE')).toThrow(expect.objectContaining({ code: 'USAGE' }) as Error)
  expect(parse('CONFIG')).toThrow(expect.objectContaining({ code: 'CONFIG' }) as Error)
})

test('every error of a daemon comes as it was, with its cause', () => {
  const comesAs = (error: Error) => {
    const { status, body } = refusal(error)
    return expect(() => parseSyncAnswer(answer(body, status)))
  }
  for (const Known of errorClasses) {
    comesAs(new Known('it failed', { hint: 'look' })).toThrow(Known)
  }
  const missing = [{ database: '/a', replica: 's3', detail: 'taken over' }]
  const cause = new InUseError('replica s3 was taken over', { hint: 'stop one' })
  const refused = new NotStoredError('not stored', { missing, cause })
  comesAs(refused).toThrow(expect.objectContaining({ missing, cause }) as Error)
  const busy = new ReplicaError('busy', { retryable: false })
  comesAs(busy).toThrow(expect.objectContaining({ retryable: false }) as Error)
})
