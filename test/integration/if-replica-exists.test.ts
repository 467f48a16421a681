import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, run, temporaryFolder } from '../support/cli.ts'

afterEach(cleanUp)

describe('restore -if-replica-exists', () => {
  test('exits with 0 when nothing is stored', async () => {
    const folder = temporaryFolder()
    const outcome = await run(
      'restore',
      '-if-replica-exists',
      '-o',
      join(folder, 'app.db'),
      `file://${folder}/replica`,
    )
    expect(outcome.code).toBe(0)
    expect(outcome.stderr).toContain('no matching backups found')
  })

  test('fails when something is stored that cannot be restored', async () => {
    const folder = temporaryFolder()
    const wal = join(folder, 'replica/generations/00112233445566aa/wal')
    mkdirSync(wal, { recursive: true })
    writeFileSync(join(wal, '00000000_00000000.wal.lz4'), 'x')
    const outcome = await run(
      'restore',
      '-if-replica-exists',
      '-o',
      join(folder, 'app.db'),
      `file://${folder}/replica`,
    )
    expect(outcome.code).toBe(1)
    expect(outcome.stderr).toContain('generation 00112233445566aa on replica file has no snapshot')
  })
})
