import { describe, expect, test } from 'vitest'
import { restore } from '../../../src/delivery/library/restore.js'
import { checkRestoreOptions } from '../../../src/delivery/library/restore-options.js'
import { UsageError } from '../../../src/domain/errors.js'

const good = {
  sources: ['file:///backup/app'],
  outputPath: 'restored.db',
}

describe('what a caller of restore asks for', () => {
  test.each<object>([
    { target: { kind: 'latest' } },
    { target: { kind: 'index', index: 3 } },
    { target: { kind: 'position', position: { index: 3, offset: 4152 } } },
    { target: { kind: 'timestamp', timeMs: 1.5 } },
    { generation: '0123456789abcdef', parallelism: 1, integrityCheck: 'full', dryRun: true },
  ])('is taken as it is: $0', (options) => {
    expect(checkRestoreOptions({ ...good, ...options })).toEqual({ ...good, ...options })
  })

  test('is the default where it is undefined', () => {
    const options = { ...good, target: undefined, parallelism: undefined, signal: undefined }
    expect(checkRestoreOptions(options)).toEqual(good)
  })

  test.each<object>([
    { target: { kind: 'time', timeMs: 1 } },
    { target: { kind: 'timestamp', timeMs: '2026-01-01' } },
    { target: { kind: 'timestamp', timeMs: Number.NaN } },
    { target: { kind: 'timestamp' } },
    { target: { kind: 'latest', timeMs: 1 } },
    { target: { kind: 'index', index: '3' } },
    { target: { kind: 'index', index: -1 } },
    { target: { kind: 'index', index: 1.5 } },
    { target: { kind: 'position', position: { index: 3 } } },
    { target: 'latest' },
    { target: null },
    { generation: '0123' },
    { integrityCheck: 'ful' },
    { parallelism: 0.5 },
    { parallelism: 0 },
    { dryRun: 'no' },
    { outputPath: '' },
    { outputPath: undefined },
    { sources: [] },
    { sources: 'file:///backup' },
    { sources: [''] },
    { sources: [{ name: 'file', url: 'file:///backup' }] },
    { timestamp: '2026-01-01T00:00:00Z' },
    { outputpath: 'x' },
    { toString: 'x' },
  ])('is refused where it is no such thing, and nothing is restored: $0', async (options) => {
    const wrong = { ...good, ...options }
    await expect(restore(wrong)).rejects.toBeInstanceOf(UsageError)
  })

  test('is refused with what was probably meant', async () => {
    const wrong = { ...good, timestamp: '2026-01-01T00:00:00Z' }
    await expect(restore(wrong)).rejects.toMatchObject({
      message: 'restore has no option timestamp',
      hint: "did you mean target: { kind: 'timestamp', … }?",
    })
    await expect(restore({ ...good, dryrun: true } as typeof good)).rejects.toMatchObject({
      hint: 'did you mean dryRun?',
    })
  })
})
