import { describe, expect, it, vi } from 'vitest'
import { LogOutput } from '../../../../src/infrastructure/logging/log-output.ts'

/** A reader of which one decides how many bytes it takes. */
function scene(): { output: LogOutput; taken: () => string; room: { bytes: number } } {
  let text = ''
  const room = { bytes: Infinity }
  const write = (bytes: Uint8Array): number => {
    if (room.bytes === 0) throw new Error('ENOSPC')
    const some = bytes.subarray(0, room.bytes)
    room.bytes -= some.length
    text += Buffer.from(some).toString()
    return some.length
  }
  const output: LogOutput = new LogOutput({ write, end: () => undefined }, (lines) =>
    output.write(`${lines} lost\n`),
  )
  return { output, taken: () => text, room }
}

describe('LogOutput', () => {
  it('writes before it returns', () => {
    const { output, taken } = scene()
    output.write('one\n')
    expect(taken()).toBe('one\n')
  })

  it('keeps what is not taken, and goes on in the middle of a line', () => {
    vi.useFakeTimers()
    const { output, taken, room } = scene()
    room.bytes = 6
    for (const line of ['one\n', 'two\n', 'three\n']) output.write(line)
    expect(taken()).toBe('one\ntw')
    vi.advanceTimersByTime(10_000)
    expect(taken()).toBe('one\ntw')
    room.bytes = Infinity
    vi.advanceTimersByTime(1000)
    expect(taken()).toBe('one\ntwo\nthree\n')
    output.write('four\n')
    expect(taken()).toBe('one\ntwo\nthree\nfour\n')
    vi.useRealTimers()
  })

  it('drops what is too much, counts it, and says so where it is missing', () => {
    vi.useFakeTimers()
    const { output, taken, room } = scene()
    room.bytes = 0
    const line = `${'x'.repeat(1023)}\n`
    for (let count = 0; count < 1500; count += 1) output.write(line)
    room.bytes = 700 * 1024
    vi.advanceTimersByTime(1000)
    output.write('later\n')
    room.bytes = Infinity
    vi.advanceTimersByTime(1000)
    expect(taken()).toBe(`${line.repeat(1024)}476 lost\nlater\n`)
    vi.useRealTimers()
  })

  it('says what was lost also when no line follows', () => {
    vi.useFakeTimers()
    const { output, taken, room } = scene()
    room.bytes = 0
    for (let count = 0; count < 1030; count += 1) output.write(`${'x'.repeat(1023)}\n`)
    room.bytes = Infinity
    vi.advanceTimersByTime(1000)
    expect(taken()).toMatch(/\n6 lost\n$/)
    vi.useRealTimers()
  })
})
