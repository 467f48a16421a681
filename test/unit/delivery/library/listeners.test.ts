import { expect, test } from 'vitest'
import { careful } from '../../../../src/delivery/library/application-logger.js'
import { Listeners } from '../../../../src/delivery/library/listeners.js'
import { type News } from '../../../../src/usecase/daemon/notice-events.js'
import { generation } from '../../../support/sample-status.ts'

const event = {
  database: '/app.db',
  replica: 'file',
  position: { generation, index: 0, offset: 0 },
  storedAtMs: 1,
}
const news: News = { happenings: [{ name: 'stored', event }], troubles: undefined }

test('what listeners throw, or reject with, is logged, and keeps no other from hearing', async () => {
  const lines: [unknown, string][] = []
  const note = (fields: object, message: string) => lines.push([fields, message])
  const listeners = new Listeners(careful({ debug: note, info: note, warn: note, error: note }))
  const heard: unknown[] = []
  const [thrown, rejected] = [new Error('thrown'), new Error('rejected')]
  listeners.add('stored', () => {
    throw thrown
  })
  listeners.add('stored', () => Promise.reject(rejected))
  listeners.add('stored', (each) => heard.push(each))
  listeners.hear(news)
  expect(heard).toEqual([event])
  await Promise.resolve()
  const message = 'a listener of the application failed'
  expect(lines).toEqual([
    [{ err: thrown, event: 'stored' }, message],
    [{ err: rejected, event: 'stored' }, message],
  ])
})

test('a listener that is taken back hears no more', () => {
  const listeners = new Listeners(careful(console))
  const heard: unknown[] = []
  const listener = (each: unknown) => heard.push(each)
  listeners.add('stored', listener)
  listeners.remove('stored', listener)
  listeners.hear(news)
  expect([heard, listeners.some]).toEqual([[], false])
})

test('an event that there is not, and a listener that is none, are refused', () => {
  const listeners = new Listeners(careful(console))
  expect(() => listeners.add('error' as 'lag', () => undefined)).toThrow(
    expect.objectContaining({ code: 'USAGE', message: 'there is no event error' }),
  )
  expect(() => listeners.add('lag', undefined as never)).toThrow('a listener must be a function')
})

test('that the engine has ended is a problem of all databases, until it runs again', () => {
  const listeners = new Listeners(careful(console))
  const heard: unknown[] = []
  for (const name of ['problem', 'recovered'] as const) {
    listeners.add(name, ({ database, replica }) => heard.push([name, database, replica]))
  }
  const ended = { code: 'NOT_STORED', message: 'it ended', database: undefined, replica: undefined }
  listeners.engineIs([{ name: 'problem', event: ended }])
  listeners.engineIs([{ name: 'problem', event: ended }])
  // What the next engine says of its databases does not end it.
  listeners.hear({ happenings: [], troubles: [] })
  listeners.engineIs([])
  listeners.engineIs([])
  expect(heard).toEqual([
    ['problem', undefined, undefined],
    ['recovered', undefined, undefined],
  ])
})
