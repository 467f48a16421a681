import { expect, test } from 'vitest'
import { askProcess } from '../../../../src/infrastructure/child-process/ask-process.js'
import { never } from '../../../../src/kit/abort.js'

const entry = new URL('../../../support/asked.mjs', import.meta.url)
const ask = (act: string, options = {}): ReturnType<typeof askProcess> =>
  askProcess(entry, { act }, { signal: never, ...options })

test('answers', async () => {
  expect(await ask('answer')).toEqual({ kind: 'answer', value: { got: 'answer' } })
})

test('its end without an answer is told', async () => {
  expect(await ask('exit')).toEqual({ kind: 'ended', why: 'exit code 3' })
})

test('one that is late is killed', async () => {
  expect(await ask('spin', { limits: { maxMs: 200 } })).toEqual({ kind: 'late' })
})

test('one that does not get on is killed, and one that reads is not', async () => {
  expect(await ask('spin', { limits: { maxIdleMs: 300 } })).toEqual({ kind: 'idle' })
  const limits = { maxIdleMs: 1000 }
  expect(await ask('read for two seconds', { limits })).toMatchObject({ kind: 'answer' })
})

test('one that takes too much memory is killed', async () => {
  const limits = { maxBytes: 200 * 1024 * 1024 }
  expect(await ask('take memory', { limits })).toEqual({ kind: 'too large' })
})

test('an abort kills it', async () => {
  const stop = new AbortController()
  const asked = ask('spin', { signal: stop.signal })
  stop.abort(new Error('enough'))
  await expect(asked).rejects.toThrow('enough')
  await expect(ask('answer', { signal: stop.signal })).rejects.toThrow('enough')
})
