import { expect, test } from 'vitest'
import {
  aborted,
  ignoreAbort,
  isAbortError,
  never,
  onAbort,
  orAborted,
  wokenOrAborted,
} from '../../../src/kit/abort.ts'

async function reasonOf(signal: AbortSignal): Promise<unknown> {
  await aborted(signal)
  return signal.reason
}

test('the end of a signal by itself or by its time is an abort', async () => {
  expect(isAbortError(await reasonOf(AbortSignal.abort()))).toBe(true)
  expect(isAbortError(await reasonOf(AbortSignal.timeout(1)))).toBe(true)
  const late = AbortSignal.any([never, AbortSignal.timeout(1)])
  expect(isAbortError(await reasonOf(late))).toBe(true)
})

test('the timeout of a vendor is a failure, not an abort', () => {
  const failure = Object.assign(new Error('socket timed out'), { name: 'TimeoutError' })
  expect(isAbortError(failure)).toBe(false)
  expect(() => ignoreAbort(failure)).toThrow('socket timed out')
  expect(isAbortError('AbortError')).toBe(false)
})

test('a listener is called once, at once where the abort has come, and no more when it is disposed of', () => {
  const controller = new AbortController()
  const calls: string[] = []
  onAbort(controller.signal, () => calls.push('first'))
  onAbort(controller.signal, () => calls.push('disposed'))[Symbol.dispose]()
  controller.abort()
  controller.abort()
  onAbort(controller.signal, () => calls.push('late'))
  expect(calls).toEqual(['first', 'late'])
})

test('work is waited for until the abort, with the reason of the signal', async () => {
  const controller = new AbortController()
  expect(await orAborted(Promise.resolve(1), controller.signal)).toBe(1)
  await expect(orAborted(Promise.reject(new Error('no')), never)).rejects.toThrow('no')
  const waiting = orAborted(new Promise<never>(() => undefined), controller.signal)
  controller.abort(new Error('enough'))
  await expect(waiting).rejects.toThrow('enough')
  await expect(orAborted(aborted(never), controller.signal)).rejects.toThrow('enough')
})

test('a wait ends by its wake-up or by the abort, and what was handed on is taken back once', async () => {
  const controller = new AbortController()
  const wakes = new Set<() => void>()
  const wait = (): Promise<void> =>
    wokenOrAborted(controller.signal, (wake) => {
      wakes.add(wake)
      return () => {
        expect(wakes.delete(wake)).toBe(true)
      }
    })
  const [first, second] = [wait(), wait()]
  const [wake] = wakes
  wake?.()
  await first
  expect(wakes.size).toBe(1)
  controller.abort()
  await second
  expect(wakes.size).toBe(0)
  await wait()
  expect(wakes.size).toBe(0)
})
