import { describe, test } from 'vitest'
import { fuzz } from '../../support/fuzzed.ts'

describe('damaged at random', () => {
  test('replicas are restored to one of their commits, or refused', () => fuzz('replica', 3000))
  test('WALs yield only frames that were in them', () => fuzz('wal', 6000))
  test('trailers are read as what they say, or not', () => fuzz('trailer', 20_000))
  test('configurations are read, or refused with what is wrong', () => fuzz('config', 2000))
})
