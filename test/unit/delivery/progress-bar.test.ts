import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { createProgressBar } from '../../../src/delivery/cli/progress-bar.ts'

/** What a terminal is sent. */
function createTerminal(
  isTTY: boolean,
  columns?: number,
): { stream: NodeJS.WriteStream; text: () => string } {
  const stream = Object.assign(new PassThrough(), {
    isTTY,
    columns,
  }) as unknown as NodeJS.WriteStream
  return { stream, text: () => String((stream as unknown as PassThrough).read() ?? '') }
}

test('shows share, rate and time left, every phase at once, and goes away', () => {
  const { stream, text } = createTerminal(true)
  const bar = createProgressBar(stream)
  bar.update({ phase: 'snapshot', doneBytes: 0, totalBytes: 1000 })
  bar.update({ phase: 'snapshot', doneBytes: 1, totalBytes: 1000 })
  bar.update({ phase: 'wal', doneBytes: 500, totalBytes: 1000 })
  bar.update({ phase: 'check', doneBytes: 1000, totalBytes: 1000 })
  bar.clear()
  const lines = text().split('\r\x1b[K').slice(1)
  expect(lines).toEqual([
    expect.stringMatching(/^snapshot \[\.{30}\] 0% .*ETA \?$/),
    expect.stringMatching(/^wal {6}\[#{15}\.{15}\] 50% {2}\S+ \wB\/s {2}ETA \d+s$/),
    'checking',
    '',
  ])
})

test('shows nothing where there is no terminal', () => {
  const { stream, text } = createTerminal(false)
  const bar = createProgressBar(stream)
  bar.update({ phase: 'wal', doneBytes: 500, totalBytes: 1000 })
  bar.clear()
  expect(text()).toBe('')
})

test.each([
  [66, /^snapshot \[#{10,15}\.{10,15}\] 50% {2}\S+ \wB\/s {2}ETA \d+s$/],
  [45, /^snapshot \[#+\.+\] 50% {2}\S+ \wB\/s {2}ETA \d+s$/],
  [40, /^snapshot (\[#+\.+\] )?50% {2}\S+ \wB\/s {2}ETA \d+s$/],
  [30, /^snapshot 50%/],
  [20, /^snapshot 50%$/],
  [8, /^50%$/],
  [3, /^50$/],
])('a terminal of %d columns gets a line that fits', (columns, expected) => {
  const { stream, text } = createTerminal(true, columns)
  createProgressBar(stream).update({ phase: 'snapshot', doneBytes: 123_456, totalBytes: 246_912 })
  const [, line = ''] = text().split('\r\x1b[K')
  expect(line).toMatch(expected)
  expect(line.length).toBeLessThan(columns)
})
