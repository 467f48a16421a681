import { describe, expect, test } from 'vitest'
import { type Copying, FileWatch } from '../../../../src/domain/policy/file-watch.js'

const all = (copiedCount: number): Copying => ({ copiedCount, isAllCopied: true })
const some = (copiedCount: number): Copying => ({ copiedCount, isAllCopied: false })
const file = (mtimeMs: number, size = 4096): { mtimeMs: number; size: number } => ({
  mtimeMs,
  size,
})

/** One that knows the file as it was at 1, with so many frames copied back. */
function knowing(copying: Copying): FileWatch {
  const watch = new FileWatch()
  watch.captured(copying, 0)
  watch.looked(file(1))
  watch.captured(copying, 0)
  expect(watch.settled).toMatchObject({ signs: file(1), copiedCount: copying.copiedCount })
  return watch
}

describe('a file that changes', () => {
  test('while all frames are copied back was written by somebody else, once it is quiet', () => {
    const watch = knowing(all(5))
    watch.looked(file(2, 8192))
    watch.captured(all(5), 1000)
    expect(watch.verdict(1000)).toBe('wait')
    expect(watch.holds(1000)).toBe(true)
    watch.looked(file(3, 8192))
    watch.captured(all(5), 1900)
    expect(watch.verdict(2000)).toBe('wait')
    expect(watch.verdict(2000, { isLast: true })).toBe('foreign')
    // What is committed and copied back afterwards explains nothing.
    watch.captured(all(9), 2000)
    expect(watch.verdict(2900)).toBe('foreign')
    expect(watch.change).toContain('its size went from 4096 to 8192')
    watch.reset()
    expect(watch.verdict(3000)).toBe('usual')
  })

  test('and never comes to rest is not waited for', () => {
    const watch = knowing(all(5))
    for (let nowMs = 0; nowMs <= 10_000; nowMs += 250) {
      watch.looked(file(nowMs + 2))
      watch.captured(all(5), nowMs)
    }
    expect(watch.verdict(10_000)).toBe('foreign')
  })

  test('was written by a checkpoint if frames were copied back since', () => {
    const watch = knowing(some(5))
    watch.looked(file(2))
    watch.captured(all(8), 1000)
    watch.looked(file(2))
    watch.captured(all(8), 2000)
    expect(watch.verdict(1_000_000)).toBe('usual')
    expect(watch.settled).toEqual({ signs: file(2), copiedCount: 8 })
  })

  test('may have been written by a checkpoint that began since and was killed', () => {
    const begun = (attemptedCount: number): Copying => ({ ...some(5), attemptedCount })
    const watch = knowing(begun(5))
    watch.looked(file(2))
    watch.captured(begun(8), 1000)
    for (let nowMs = 1000; nowMs <= 60_000; nowMs += 250) {
      watch.looked(file(2))
      watch.captured(begun(8), nowMs)
    }
    expect(watch.verdict(60_000)).toBe('usual')
    // What the next one copies, the one that was killed may have copied, too.
    watch.captured({ ...all(8), attemptedCount: 8 }, 61_000)
    watch.looked(file(3))
    watch.captured({ ...all(8), attemptedCount: 8 }, 61_250)
    expect(watch.settled).toEqual({ signs: file(3), copiedCount: 8, attemptedCount: 8 })
    watch.looked(file(4))
    watch.captured({ ...all(8), attemptedCount: 8 }, 61_500)
    expect(watch.verdict(63_000)).toBe('foreign')
  })

  test('is not explained by a checkpoint that was cut off before', () => {
    const begun: Copying = { ...some(5), attemptedCount: 8 }
    const watch = new FileWatch()
    watch.captured(begun, 0)
    watch.looked(file(1))
    watch.captured(begun, 0)
    watch.looked(file(2))
    watch.captured(begun, 1000)
    expect(watch.verdict(2500)).toBe('ask')
  })

  test('may be written by a checkpoint as long as there is something to copy back', () => {
    const watch = knowing(some(5))
    watch.looked(file(2))
    watch.captured(some(5), 1000)
    expect(watch.verdict(1000)).toBe('wait')
    expect(watch.verdict(2000)).toBe('ask')
    watch.anotherRuns(2000)
    expect(watch.verdict(2500)).toBe('wait')
    watch.captured(all(8), 2600)
    expect(watch.verdict(9000)).toBe('usual')
  })

  test('when the wal-index was made anew is asked for', () => {
    const watch = new FileWatch()
    watch.reset({ signs: file(1), copiedCount: 5 })
    watch.captured(some(0), 0)
    watch.looked(file(2))
    watch.captured(some(0), 1000)
    expect(watch.verdict(2000)).toBe('ask')
  })

  test('was written by a checkpoint of the first WAL that is captured, though the one before had more frames', () => {
    const watch = knowing(all(22))
    watch.captured(some(0), 1000)
    watch.captured(all(1), 1020)
    watch.looked(file(2))
    watch.captured(all(1), 1040)
    expect(watch.verdict(1_000_000)).toBe('usual')
    expect(watch.settled).toEqual({ signs: file(2), copiedCount: 1 })
    // Who wrote it before that is still told.
    const foreign = knowing(all(22))
    foreign.looked(file(2))
    foreign.captured(all(22), 1000)
    foreign.captured(some(0), 1020)
    expect(foreign.verdict(2000)).toBe('foreign')
  })

  test('is judged by what was known of it when the same WAL is captured anew', () => {
    const watch = knowing(all(5))
    watch.resume(3)
    watch.captured(all(2), 0)
    watch.looked(file(2))
    watch.captured(all(2), 0)
    expect(watch.verdict(1000)).toBe('foreign')
    const other = knowing(all(5))
    other.resume(6)
    expect(other.isBehind).toBe(true)
  })

  test('is looked at anew as soon as frames were copied back: what is written then has no other explanation', () => {
    const watch = knowing(all(5))
    expect(watch.isBehind).toBe(false)
    watch.captured(all(8), 1000)
    expect(watch.isBehind).toBe(true)
    watch.looked(file(2))
    watch.captured(all(8), 1025)
    expect(watch.isBehind).toBe(false)
    watch.looked(file(3))
    watch.captured(all(8), 1275)
    expect(watch.verdict(2275)).toBe('foreign')
  })

  test('around a look is not judged by it', () => {
    const watch = knowing(all(5))
    watch.looked(file(2))
    watch.captured(all(6), 1000)
    watch.looked(file(3))
    watch.captured(all(6), 2000)
    expect(watch.settled).toEqual({ signs: file(3), copiedCount: 6 })
  })
})
