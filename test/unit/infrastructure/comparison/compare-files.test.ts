import Database from 'better-sqlite3'
import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { compareFiles } from '../../../../src/infrastructure/comparison/compare-files.js'

let folder: string
let databasePath: string
let imagePath: string
const compare = (): ReturnType<typeof compareFiles> =>
  compareFiles({ databasePath, imagePath, end: undefined })

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsreplicate-'))
  databasePath = join(folder, 'app.db')
  imagePath = join(folder, 'restored.db')
  const application = new Database(databasePath)
  application.exec('CREATE TABLE t (n)')
  application.close()
  copyFileSync(databasePath, imagePath)
})

afterEach(() => rmSync(folder, { recursive: true }))

test('a database is compared with its image, also behind a link that is its path', () => {
  expect(compare()).toMatchObject({ comparedCount: 2, differing: [] })
  renameSync(databasePath, join(folder, 'real.db'))
  symlinkSync('real.db', databasePath)
  expect(compare()).toMatchObject({ comparedCount: 2, differing: [] })
})

test('where there is none, nothing is compared', () => {
  rmSync(databasePath)
  expect(compare()).toBeUndefined()
})

// Opened as others are, it would be waited for without end.
test.each(['', '-wal'])('a FIFO in the place of app.db%s is refused', (suffix) => {
  rmSync(`${databasePath}${suffix}`, { force: true })
  execFileSync('mkfifo', [`${databasePath}${suffix}`])
  expect(compare).toThrow(/not a regular file: .*app\.db/)
})

test('a link as -wal is not followed', () => {
  symlinkSync(imagePath, `${databasePath}-wal`)
  expect(compare).toThrow(/ELOOP/)
})
