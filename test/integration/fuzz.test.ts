/** A tenth of `npm run test:fuzz`. */
import { describe, test } from 'vitest'
import { fuzz } from '../support/fuzzed.ts'

describe('damaged at random', () => {
  test('replicas are restored to one of their commits, or refused', () => fuzz('replica', 300))
  test('WALs yield only frames that were in them', () => fuzz('wal', 600))
  test('trailers are read as what they say, or not', () => fuzz('trailer', 2000))
  test('configurations are read, or refused with what is wrong', () => fuzz('config', 200))
})
