import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FolderUploadRecord } from '../../../../src/infrastructure/spool/folder-upload-record.js'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsreplicate-test-'))
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

test('what was saved is loaded by the next process, and nothing leaves no file', async () => {
  const record = () => new FolderUploadRecord({ path: join(folder, 'meta'), replica: 'a/b' })
  const path = join(folder, 'meta/uploads-a%2Fb.json')
  expect(await record().load()).toEqual([])
  await record().save(['one', 'two'])
  expect(await record().load()).toEqual(['one', 'two'])
  writeFileSync(path, '{"keys":["one", 2')
  expect(await record().load()).toEqual([])
  await record().save([])
  expect(existsSync(path)).toBe(false)
})
