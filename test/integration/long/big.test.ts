import Database from 'better-sqlite3'
import { createHash } from 'node:crypto'
import { createReadStream, statSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { afterEach, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  restore,
  runLitestream,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../../support/cli.ts'

afterEach(cleanUp)

const gibibyte = 1024 * 1024 * 1024

async function digest(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

test.each([4096, 65_536])(
  'a database that grows past 1 GiB, and its lock page, under a reader that lets no WAL restart is restored by both programs (page size %i)',
  async (pageSizeBytes) => {
    const folder = temporaryFolder()
    const db = join(folder, 'app.db')
    const replica = join(folder, 'replica')
    const writer = new Database(db, { timeout: 60_000 })
    writer.pragma(`page_size = ${pageSizeBytes}`)
    writer.pragma('journal_mode = WAL')
    writer.pragma('wal_autocheckpoint = 0')
    writer.exec('create table t (n integer primary key, filler blob)')
    const config = writeConfig(folder, { path: db, replicas: [replica] })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    const reader = new Database(db, { readonly: true })
    reader.exec('begin')
    reader.prepare('select count(*) from t').get()
    const insert = writer.prepare('insert into t (filler) values (randomblob(1000000))')
    const grow = writer.transaction(() => {
      for (let i = 0; i < 16; i += 1) insert.run()
    })
    const pageCount = (): number => Number(writer.pragma('page_count', { simple: true }))
    while (pageCount() * pageSizeBytes < 1.1 * gibibyte) grow()
    expect(statSync(`${db}-wal`).size).toBeGreaterThan(1.1 * gibibyte)
    grow()
    const segments = (): string[] => listObjects(replica).filter((name) => name.includes('/wal/'))
    // SQLite's WAL was never restarted: the second index is one of ours.
    await until(
      () => segments().some((name) => name.includes('/00000001_')),
      300_000,
      'a segment of an index of our own',
    )
    expect(segments().some((name) => name.includes('/00000001_00000000'))).toBe(true)
    reader.exec('commit')
    reader.close()
    expect(await daemon.stop(300_000)).toBe(0)
    expect(listGenerations(replica)).toHaveLength(1)
    writer.pragma('wal_checkpoint(TRUNCATE)')
    writer.close()
    const ours = join(folder, 'ours.db')
    const theirs = join(folder, 'theirs.db')
    await restore(replica, ours, '-integrity-check', 'full')
    const outcome = await runLitestream('restore', '-o', theirs, `file://${replica}`)
    expect(outcome, outcome.stderr).toMatchObject({ code: 0 })
    expect(await digest(ours)).toBe(await digest(theirs))
    expect(await digest(ours)).toBe(await digest(db))
  },
)
