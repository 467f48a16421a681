import { expect, test } from 'vitest'
import { UploadPace } from '../../../../../src/infrastructure/replica-clients/object-store/upload-pace.js'

const mebibyte = 1024 * 1024
const baseMs = 20_000

test('a part over 10 KB/s gets its time, before anything is known', () => {
  expect(new UploadPace().allowedMs(baseMs, 8 * mebibyte)).toBeGreaterThan((8 * mebibyte) / 10)
})

test('over a fast link, a part that hangs is given up about as soon as anything else', () => {
  const pace = new UploadPace()
  pace.succeeded(8 * mebibyte, 1000)
  expect(pace.allowedMs(baseMs, 8 * mebibyte)).toBeLessThan(baseMs + 10_000)
})

test('a link that becomes slow gets more and more time', () => {
  const pace = new UploadPace()
  pace.succeeded(8 * mebibyte, 100)
  const durationMs = (8 * mebibyte) / 5
  let timeouts = 0
  for (; pace.allowedMs(baseMs, 8 * mebibyte) < durationMs; timeouts += 1) {
    pace.timedOut(8 * mebibyte)
  }
  expect(timeouts).toBeLessThan(10)
})

test('small requests neither get more time nor tell anything', () => {
  const pace = new UploadPace()
  pace.succeeded(100, 30_000)
  expect(pace.allowedMs(baseMs, 1000)).toBeLessThan(baseMs + 200)
  expect(pace.allowedMs(baseMs, 8 * mebibyte)).toBe(
    new UploadPace().allowedMs(baseMs, 8 * mebibyte),
  )
})
