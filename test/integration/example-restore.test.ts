/** `examples/restore.py`, which knows no more than docs/format.md, beside our own restore. */
import Database from 'better-sqlite3'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, listObjects, restore, root, until } from '../support/cli.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'
import { scene, startReplicating } from '../support/scene.ts'

afterEach(cleanUp)

/** A folder with Python's `lz4`, or why there is none. */
function findLz4(): { readonly path: string } | { readonly missing: string } {
  const folder = join(root, 'node_modules/.cache/tsreplicate/python-lz4-4')
  const install = [
    ...['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'],
    ...['--retries', '1', '--timeout', '10', '--target', folder, 'lz4==4.*'],
  ]
  for (const args of [[], install]) {
    const { error } = spawnSync('python3', args, { stdio: 'ignore', timeout: 90_000 })
    if (error !== undefined) return { missing: 'there is no python3' }
    const env = { ...process.env, PYTHONPATH: folder }
    if (spawnSync('python3', ['-c', 'import lz4.frame'], { env }).status === 0) {
      return { path: folder }
    }
  }
  return { missing: 'pip cannot install lz4' }
}

const lz4 = findLz4()
if ('missing' in lz4) sayAtTheEnd(`examples/restore.py was not run: ${lz4.missing}`)

test.runIf('path' in lz4)(
  'a script of 200 lines restores what ours restores, and refuses what is damaged',
  async () => {
    const { replica, out, ...place } = scene()
    const db = new Database(place.db)
    db.pragma('journal_mode = wal')
    const daemon = startReplicating({ replica, ...place })
    db.exec('create table t (a, b)')
    const insert = db.prepare('insert into t values (?, randomblob(3000))')
    for (let round = 0; round < 6; round += 1) {
      for (let i = 0; i < 50; i += 1) insert.run(i)
      if (round === 3) db.exec('delete from t where a > 20; vacuum')
      const before = listObjects(replica).length
      await until(() => listObjects(replica).length > before, 20_000, 'a segment of this round')
      db.pragma('wal_checkpoint(truncate)')
    }
    insert.run(1000)
    db.close()
    expect(await daemon.stop()).toBe(0)

    const script = join(root, 'examples/restore.py')
    const env = { ...process.env, PYTHONPATH: 'path' in lz4 ? lz4.path : '' }
    const byScript = (name: string) =>
      spawnSync('python3', [script, replica, out(name)], { env, encoding: 'utf8' })
    await restore(replica, out('ours'))
    expect(byScript('script').stderr).toBe('')
    expect(readFileSync(out('script')).equals(readFileSync(out('ours')))).toBe(true)

    expect(byScript('script').stderr).toContain('nothing is overwritten')
    const segments = listObjects(replica).filter((name) => name.includes('/wal/'))
    expect(segments.length).toBeGreaterThan(4)
    rmSync(join(replica, segments[2]!))
    const damaged = byScript('damaged')
    expect(damaged.status).toBe(1)
    expect(damaged.stderr).toContain('a segment is missing')
    expect(existsSync(out('damaged'))).toBe(false)
    expect(readdirSync(join(place.folder, 'out')).sort()).toEqual(['ours', 'script'])
  },
)

test('the script has at most 200 lines', () => {
  const lines = readFileSync(join(root, 'examples/restore.py'), 'utf8').trimEnd().split('\n')
  expect(lines.length).toBeLessThanOrEqual(200)
})
