import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
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
  const ended = eu.path.replace(/\d+-\w+$/, '999999999')
  const crashed = `${ended}-aB3x_9`
  mkdirSync(crashed)
  // Before these had random names.
  mkdirSync(ended)
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
  expect(existsSync(ended)).toBe(false)
})

test('a restored copy is put where only its own user can look, under a name that nobody can take before', async () => {
  const scratch = scratchOf(
    { metaPath: join(folder, '.app.db-tsreplicate'), validationPath: undefined },
    'file',
  )
  // Somebody guesses what it is called, and leads it elsewhere.
  const elsewhere = join(folder, 'elsewhere')
  mkdirSync(elsewhere)
  const guessed = join(folder, `.app.db-tsreplicate-validation-file-${process.pid}`)
  symlinkSync(elsewhere, guessed)
  await using first = await scratch.open(1)
  expect(statSync(first.path).mode & 0o777).toBe(0o700)
  expect(realpathSync(first.path)).not.toBe(realpathSync(elsewhere))
  await first[Symbol.asyncDispose]()
  await using second = await scratch.open(1)
  expect(second.path).not.toBe(first.path)
  expect(existsSync(guessed)).toBe(true)
})
