import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { scratchOf } from '../../../src/compose/validation.js'
import { type FolderScratch } from '../../../src/infrastructure/scratch/folder-scratch.js'

let folder: string
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'tsreplicate-test-'))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

test('restored copies of databases of one name never meet, though they have one folder for them', async () => {
  const validationPath = join(folder, 'copies')
  const scratchOfTenant = (tenant: string): FolderScratch =>
    scratchOf({ metaPath: join(folder, tenant, '.app.db-tsreplicate'), validationPath }, 'file')
  await using eu = await scratchOfTenant('eu').open(1)
  const copy = join(eu.path, 'restored.db')
  writeFileSync(copy, 'eu')
  // What a process has left that ended before it could.
  const crashed = eu.path.replace(/\d+$/, '999999999')
  mkdirSync(crashed)
  {
    await using us = await scratchOfTenant('us').open(1)
    expect(us.path).not.toBe(eu.path)
  }
  expect(readFileSync(copy, 'utf8')).toBe('eu')
  await scratchOfTenant('us').sweep()
  expect(readFileSync(copy, 'utf8')).toBe('eu')
  expect(existsSync(crashed)).toBe(true)
  await scratchOfTenant('eu').sweep()
  expect(existsSync(crashed)).toBe(false)
})
