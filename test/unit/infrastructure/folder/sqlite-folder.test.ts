import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { type DatabaseFolder } from '../../../../src/domain/settings/config.js'
import { SqliteFolder } from '../../../../src/infrastructure/folder/sqlite-folder.js'

const { signal } = new AbortController()

test('a subfolder that vanishes in the midst of a look does not end it, the folder itself does', async () => {
  const path = mkdtempSync(join(tmpdir(), 'tsreplicate-folder-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  for (const name of ['one', 'other']) {
    mkdirSync(join(path, name))
    writeFileSync(join(path, name, 'app.db'), Buffer.from('SQLite format 3\0', 'latin1'))
  }
  const config = { path, pattern: '*', recursive: true, watch: false } as unknown as DatabaseFolder
  await using folder = new SqliteFolder(config)
  /** Removes, when the first file is looked at, the subfolder that is still to come. */
  class Paths extends Set<string> {
    override has(file: string): boolean {
      const other = dirname(file).endsWith('one') ? 'other' : 'one'
      rmSync(join(path, other), { recursive: true, force: true })
      return true
    }
  }
  const replicated = { paths: new Paths(), has: () => false }
  const { found } = await folder.scan(replicated, signal)
  expect(found).toHaveLength(1)
  rmSync(path, { recursive: true })
  await expect(folder.scan(replicated, signal)).rejects.toThrow('it does not exist')
})
