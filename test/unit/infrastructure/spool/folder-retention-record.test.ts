import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseGeneration } from '../../../../src/domain/wal/generation.ts'
import { FolderRetentionRecord } from '../../../../src/infrastructure/spool/folder-retention-record.ts'
import { never } from '../../../../src/kit/abort.ts'
const generation = parseGeneration('0123456789abcdef')!
const deletion = { generation, whole: true, reason: 'it is old', decidedAtMs: 5 }
let folder: string

beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'tsreplicate-record-'))))
afterEach(() => rmSync(folder, { recursive: true }))

test('gives back what was recorded, of each replica its own, and leaves no file when there is nothing', async () => {
  const path = join(folder, 'meta')
  const record = new FolderRetentionRecord({ path, replica: 'a/b' })
  expect(await record.load(never)).toEqual([])
  await record.save([deletion], never)
  expect(await new FolderRetentionRecord({ path, replica: 'a/b' }).load(never)).toEqual([deletion])
  expect(await new FolderRetentionRecord({ path, replica: 'b' }).load(never)).toEqual([])
  expect(readdirSync(path)).toEqual(['retention-a%2Fb.json'])
  await record.save([], never)
  expect(readdirSync(path)).toEqual([])
})

test('what cannot be read counts as nothing: then less is deleted', async () => {
  const record = new FolderRetentionRecord({ path: folder, replica: 'x' })
  for (const text of ['', '{', '[]', '{"deletions":[{"generation":"xyz"},3]}']) {
    writeFileSync(join(folder, 'retention-x.json'), text)
    expect(await record.load(never)).toEqual([])
  }
})

test('gives back what was remembered of the clock, and leaves out what cannot be read', async () => {
  const record = new FolderRetentionRecord({ path: folder, replica: 'x' })
  expect(await record.loadClock(never)).toBeUndefined()
  const memory = { boot: 'b', atBootMs: 7.5, leaps: [{ toMs: 3, byMs: 2 }] }
  await record.saveClock(memory, never)
  expect(await new FolderRetentionRecord({ path: folder, replica: 'x' }).loadClock(never)).toEqual(
    memory,
  )
  expect(await new FolderRetentionRecord({ path: folder, replica: 'y' }).loadClock(never)).toBe(
    undefined,
  )
  for (const [text, leaps] of [
    ['{', undefined],
    ['{"boot":1,"atBootMs":2}', undefined],
    ['{"boot":"b","atBootMs":2,"leaps":[{"toMs":1},3]}', []],
  ] as const) {
    writeFileSync(join(folder, 'clock-x.json'), text)
    expect((await record.loadClock(never))?.leaps).toEqual(leaps)
  }
})
