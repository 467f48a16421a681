import { expect, test } from 'vitest'
import { ReplicaError } from '../../../src/domain/errors.js'
import { messageOf } from '../../../src/kit/error-text.ts'
import { type Logger } from '../../../src/usecase/ports/logger.js'
import { ReplicaProblems } from '../../../src/usecase/replica-problems.js'

function make() {
  const lines: string[] = []
  let now = 0
  const log =
    (level: string): Logger['info'] =>
    ({ err }, message) => {
      lines.push(`${level} ${err === undefined ? message : messageOf(err)}`)
    }
  const logger: Logger = {
    debug: log('debug'),
    info: log('info'),
    warn: log('warn'),
    error: log('error'),
    child: () => logger,
  }
  const problems = new ReplicaProblems({
    logger,
    clock: { monotonic: () => now, now: () => now },
    location: 's3://b',
  })
  return {
    lines,
    problems,
    failAfter: (durationMs: number, message: string) => {
      now += durationMs
      problems.report(new ReplicaError(message))
    },
  }
}

test('one problem is said once in half an hour, and its end once', () => {
  const { lines, problems, failAfter } = make()
  for (let i = 0; i < 200; i += 1) failAfter(10_000, 'the store is away')
  problems.recovered()
  problems.recovered()
  expect(lines).toEqual([
    'error the store is away',
    'error the store is away',
    'info replica recovered',
  ])
})

test('an outage with a different message each time gives one line in 30 s', () => {
  const { lines, failAfter } = make()
  for (let i = 0; i < 60; i += 1) failAfter(1000, `part ${i}: reset`)
  expect(lines).toEqual(['error part 0: reset', 'error part 30: reset'])
})

test('a store that fails and works in turn gives one pair of lines in 30 s', () => {
  const { lines, problems, failAfter } = make()
  for (let i = 0; i < 59; i += 1) {
    failAfter(1000, 'busy')
    problems.recovered()
  }
  expect(lines).toEqual([
    'error busy',
    'info replica recovered',
    'error busy',
    'info replica recovered',
  ])
})
