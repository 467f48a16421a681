import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { LocalStateError } from '../../../../src/domain/errors.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import {
  openClaimRecord,
  openStoredRecord,
  openValidationRecord,
} from '../../../../src/infrastructure/spool/folder-records.js'
import { never } from '../../../../src/kit/abort.js'

const generation = formatGeneration(new Uint8Array(8))
const run = {
  from: { index: 0, offset: 0 },
  to: { index: 1, offset: 4152 },
  count: 2,
  digest: '0123456789abcdef',
}

let path: string

beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), 'tsreplicate-test-'))
})

afterEach(() => {
  rmSync(path, { recursive: true, force: true })
})

const options = (): { path: string; replica: string } => ({ path, replica: 'a/b' })

test('what is saved is what is loaded by the next process, field by field as it always was', async () => {
  const claims = { instance: 'i', tokens: ['t', 'u'] }
  expect(await openClaimRecord(options()).load(never)).toBeUndefined()
  await openClaimRecord(options()).save(claims, never)
  await openStoredRecord(options()).save({ generation, runs: [run] }, never)
  await openValidationRecord(options()).save(7, never)
  expect(await openClaimRecord(options()).load(never)).toEqual(claims)
  expect(await openStoredRecord(options()).load(never)).toEqual({ generation, runs: [run] })
  expect(await openValidationRecord(options()).load(never)).toBe(7)
  const contentOf = (what: string): unknown =>
    JSON.parse(readFileSync(join(path, `${what}-a%2Fb.json`), 'utf8'))
  expect(contentOf('owner')).toEqual({ version: 1, ...claims })
  expect(contentOf('stored')).toEqual({ version: 1, generation, runs: [run] })
  expect(contentOf('validation')).toEqual({ version: 1, provenAtMs: 7 })
})

test('what cannot be understood is nothing', async () => {
  const write = (what: string, content: unknown): void =>
    writeFileSync(join(path, `${what}-a%2Fb.json`), JSON.stringify(content))
  write('owner', { instance: 1, tokens: [] })
  write('stored', { generation, runs: [run, { ...run, digest: 'x' }] })
  write('validation', { provenAtMs: 'yesterday' })
  expect(await openClaimRecord(options()).load(never)).toBeUndefined()
  expect(await openStoredRecord(options()).load(never)).toBeUndefined()
  expect(await openValidationRecord(options()).load(never)).toBeUndefined()
})

test('what cannot be read is an error, but not when it was last validated', async () => {
  for (const what of ['owner', 'validation']) mkdirSync(join(path, `${what}-a%2Fb.json`))
  await expect(openClaimRecord(options()).load(never)).rejects.toThrow(LocalStateError)
  expect(await openValidationRecord(options()).load(never)).toBeUndefined()
})

test('an abort is passed through', async () => {
  const signal = AbortSignal.abort()
  await expect(openClaimRecord(options()).load(signal)).rejects.toBe(signal.reason)
  await expect(openValidationRecord(options()).load(signal)).rejects.toBe(signal.reason)
  await expect(openValidationRecord(options()).save(1, signal)).rejects.toBe(signal.reason)
})
