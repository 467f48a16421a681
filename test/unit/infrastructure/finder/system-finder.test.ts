import Database from 'better-sqlite3'
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { SystemFinder } from '../../../../src/infrastructure/finder/system-finder.js'
import { never } from '../../../../src/kit/abort.js'

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'tsreplicate-finder-')))
afterAll(() => rmSync(folder, { recursive: true }))

it('believes a file of variables, but not an example of one or one for tests', async () => {
  for (const name of ['.env', '.env.local', '.env.example', '.env.test', '.env.test.local']) {
    new Database(join(folder, `of${name}.data`)).exec('CREATE TABLE t (x)').close()
    writeFileSync(join(folder, name), `DATABASE_URL=file:./of${name}.data\n`)
  }
  const sightings = await new SystemFinder(folder, {}).find(never)
  const found = sightings.filter(({ path }) => path.startsWith(folder)).map(({ path }) => path)
  expect(found.sort()).toEqual([join(folder, 'of.env.data'), join(folder, 'of.env.local.data')])
})
