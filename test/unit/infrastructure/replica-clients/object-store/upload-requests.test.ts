import { expect, test } from 'vitest'
import {
  assertPart,
  UploadRequests,
} from '../../../../../src/infrastructure/replica-clients/object-store/upload-requests.js'
import { aborted, never } from '../../../../../src/kit/abort.js'

test('giving up ends what is under way, waits for it, and says whether there was anything', async () => {
  const requests = new UploadRequests(never)
  let isEnded = false
  const under = requests.track(
    aborted(requests.signal).then(() => {
      isEnded = true
      throw new Error('cut off')
    }),
  )
  const failed = expect(under).rejects.toThrow('cut off')
  expect(await requests.giveUp()).toBe(true)
  expect(isEnded).toBe(true)
  await failed
  expect(await requests.giveUp()).toBe(false)
})

test('a request that has ended is no more under way, and what it came to is passed on', async () => {
  const caller = new AbortController()
  const requests = new UploadRequests(caller.signal)
  expect(await requests.track(Promise.resolve(7))).toBe(7)
  caller.abort()
  expect(requests.signal.aborted).toBe(true)
  expect(await requests.giveUp()).toBe(false)
})

test('only the last part may be shorter than the others', () => {
  const part = { number: 0, bytes: new Uint8Array(3) }
  assertPart({ ...part, last: true }, 4)
  assertPart({ ...part, last: false }, 3)
  expect(() => assertPart({ ...part, last: false }, 4)).toThrow()
  expect(() => assertPart({ ...part, last: true }, 2)).toThrow()
})
