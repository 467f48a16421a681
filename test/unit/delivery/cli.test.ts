import { describe, expect, it } from 'vitest'

import { parseTimestamp } from '../../../src/delivery/cli/commands/restore.ts'
import { normalizeGoFlags } from '../../../src/delivery/cli/go-flags.ts'
import { formatLag, formatTable, formatTime } from '../../../src/delivery/cli/table.ts'
import { formatDuration, parseDuration } from '../../../src/kit/duration.ts'
import { UsageError } from '../../../src/domain/errors.ts'

const flags = {
  command: 'wal',
  valued: new Set(['config', 'index']),
  booleans: new Set(['json', 'no-expand-env']),
}

describe('normalizeGoFlags', () => {
  it.each([
    [['-config', 'x'], ['--config=x']],
    [['--config', 'x'], ['--config=x']],
    [['-config=x=y'], ['--config=x=y']],
    [
      ['-o', 'x'],
      ['-o', 'x'],
    ],
    [['-o=x'], ['-o', 'x']],
    [
      ['-json', 'db'],
      ['--json', 'db'],
    ],
    [['-json=true'], ['--json']],
    [['-json=0'], []],
    [
      ['db', '-no-expand-env'],
      ['db', '--no-expand-env'],
    ],
    [['-config', '-x'], ['--config=-x']],
    [
      ['-json', '--', '-config'],
      ['--json', '--', '-config'],
    ],
    [['-h'], ['--help']],
    [['-'], ['-']],
  ])('%j becomes %j', (argv, expected) => {
    expect(normalizeGoFlags(argv, flags)).toEqual(expected)
  })

  it.each([[['-nope']], [['-config']], [['-o']], [['-json=maybe']]])('refuses %j', (argv) => {
    expect(() => normalizeGoFlags(argv, flags)).toThrow(UsageError)
  })

  it.each([
    [['-o', ''], '-o has an empty value'],
    [['-o='], '-o has an empty value'],
    [['-config', '', 'db'], '-config has an empty value'],
    [['db', ''], 'argument 2 of wal is empty'],
    [['--', ''], 'argument 1 of wal is empty'],
  ])('asks of %j whether a variable is not set', (argv, message) => {
    expect(() => normalizeGoFlags(argv, flags)).toThrow(
      expect.objectContaining({ message, hint: 'Is a variable not set?' }),
    )
  })

  it.each([
    ['-indx', 'Did you mean -index? tsreplicate wal --help lists its flags.'],
    ['-frobnicate', 'tsreplicate wal --help lists its flags.'],
    ['-json=maybe', 'Write -json, or -json=false.'],
  ])('says what to write instead of %s', (argument, hint) => {
    expect(() => normalizeGoFlags([argument], flags)).toThrow(expect.objectContaining({ hint }))
  })
})

describe('tables', () => {
  it('pads all columns but the last', () => {
    const table = formatTable(['a', 'bb', 'c'], [['long', '1', 'x']])
    expect(table).toBe('a     bb  c\nlong  1   x\n')
  })

  it('prints whole seconds in UTC', () => {
    expect(formatTime(1_763_805_446_999)).toBe('2025-11-22T09:57:26Z')
  })

  it.each([
    [0, '0s'],
    [-31.4, '-31ms'],
    [492, '492ms'],
    [0.85, '850µs'],
    [1949, '1.9s'],
    [7_384_900, '2h3m4s'],
  ])('a lag of %d ms is %s', (lagMs, text) => {
    expect(formatLag(lagMs)).toBe(text)
  })
})

describe('durations', () => {
  it.each([
    ['1.5h', 5_400_000],
    ['.5s', 500],
    ['1m30s', 90_000],
    ['-2ms', -2],
    ['0', 0],
    ['1d', undefined],
    ['1H', undefined],
    ['1m30', undefined],
    ['', undefined],
    ['5', undefined],
  ])('%j is %s ms', (text, durationMs) => {
    expect(parseDuration(text)).toBe(durationMs)
  })

  it('prints what it reads', () => {
    for (const text of ['1h0m0s', '1m30s', '1.5s', '500ms', '850µs']) {
      expect(formatDuration(parseDuration(text) ?? 0)).toBe(text)
    }
  })
})

describe('parseTimestamp', () => {
  it.each([
    ['2000-01-01T00:00:00Z', Date.UTC(2000, 0, 1)],
    ['2000-01-01T02:00:00.5+02:00', Date.UTC(2000, 0, 1) + 500],
    ['1999-12-31T23:00:00-01:00', Date.UTC(2000, 0, 1)],
    ['2000-01-01T00:00:00', undefined],
    ['2000-02-30T00:00:00Z', undefined],
    ['2000-01-01', undefined],
  ])('%s is %s', (text, timeMs) => {
    expect(parseTimestamp(text)).toBe(timeMs)
  })
})
