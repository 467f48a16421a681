import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { fileImages } from '../../../../src/infrastructure/image/file-image.ts'

const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-image-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('what is in the way of a restore is named at once, all of it, and stays', async () => {
  const nothing = new URL('file:///nothing-is-started.js')
  const images = fileImages({ thread: nothing, check: nothing })
  const output = join(folder, 'app.db')
  const create = (): Promise<unknown> => images.create(output, { maxPageCount: 1 })
  writeFileSync(`${output}-shm`, '')
  await expect(create()).rejects.toMatchObject({
    code: 'OUTPUT_EXISTS',
    message: `cannot restore, output path already exists: ${output}-shm`,
    hint: 'Move it away, or restore to another path with -o.',
  })
  writeFileSync(`${output}-wal`, '')
  writeFileSync(`${output}-journal`, '')
  await expect(create()).rejects.toMatchObject({
    message: `cannot restore, output path already exists: ${output}-wal`,
    hint: `Move it and ${output}-shm, ${output}-journal away, or restore to another path with -o.`,
  })
  expect(readdirSync(folder)).toEqual(['app.db-journal', 'app.db-shm', 'app.db-wal'])
})
