/** The path that is configured is a link, and what else may lead to one file. */
import Database from 'better-sqlite3'
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  run,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { lastAcknowledged, restoreAndVerify, write } from '../support/ledger.ts'

afterEach(cleanUp)

interface Linked {
  readonly folder: string
  /** The database file, and a link to it in another folder. */
  readonly real: string
  readonly link: string
  readonly oracle: string
  readonly replica: string
}

function linked(): Linked {
  const folder = temporaryFolder()
  for (const name of ['shared', 'current']) mkdirSync(join(folder, name))
  const real = join(folder, 'shared/production.sqlite3')
  const link = join(folder, 'current/production.sqlite3')
  symlinkSync('../shared/production.sqlite3', link)
  return { folder, real, link, oracle: join(folder, 'oracle'), replica: join(folder, 'replica') }
}

describe('a database that is configured by a link', () => {
  test('is replicated as SQLite finds it, whatever lies beside the link, and is restored behind it', async () => {
    const { folder, real, link, oracle, replica } = linked()
    await write({ db: real, oracle, count: 5 })
    // Left there by a program that copied the files, with their WAL.
    const keeper = new Database(real)
    keeper.exec('create table other (a)')
    copyFileSync(`${real}-wal`, `${link}-wal`)
    const daemon = start(
      'replicate',
      '-config',
      writeConfig(folder, { path: link, replicas: [replica] }),
    )
    await daemon.waitFor(/snapshot written/)
    await write({ db: link, oracle, count: 20, rate: 50 })
    expect(await daemon.stop()).toBe(0)
    keeper.close()
    expect(await restoreAndVerify(replica, join(folder, 'out'), oracle)).toEqual({
      n: lastAcknowledged(oracle),
    })
    expect(listGenerations(replica)).toHaveLength(1)
    expect(existsSync(`${real.replace('production', '.production')}-tsreplicate`)).toBe(true)

    for (const end of ['', '-wal', '-shm'])
      if (existsSync(real + end)) renameSync(real + end, `${real}${end}.old`)
    await restoreAndVerify(replica, link, oracle)
    expect(lstatSync(link).isSymbolicLink()).toBe(true)
    expect(lstatSync(real).isFile()).toBe(true)
  })

  test('has one writer, by whatever name it is given', async () => {
    const { folder, real, link, oracle, replica } = linked()
    await write({ db: real, oracle, count: 5 })
    const daemon = start('replicate', link, `file://${replica}`)
    await daemon.waitFor(/snapshot written/)
    const second = await run('replicate', real, `file://${join(folder, 'other')}`)
    expect(second.code).toBe(75)
    expect(second.stderr).toContain('in use by')
    expect(await daemon.stop()).toBe(0)
  })

  test('and lies in a folder that is replicated, too, is one database, which is said', async () => {
    const { folder, real, link, oracle, replica } = linked()
    await write({ db: real, oracle, count: 5 })
    const config = join(folder, 'c.yml')
    const other = join(folder, 'others')
    const dbs = [
      { dir: join(folder, 'shared'), replicas: [{ path: other }] },
      { path: link, replicas: [{ path: replica, 'sync-interval': '100ms' }] },
    ]
    writeFileSync(config, JSON.stringify({ dbs }))
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(new RegExp(`${link} leads to ${real}: they are one database`))
    await until(() => listGenerations(replica).length === 1, 10_000, 'the snapshot')
    await write({ db: link, oracle, count: 5 })
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, join(folder, 'out'), oracle)).toEqual({ n: 10 })
    expect(daemon.output).not.toContain('in use by')
  })

  test('begins a generation of the new file when the link is changed, and says so', async () => {
    const { folder, real, link, oracle, replica } = linked()
    await write({ db: real, oracle, count: 5 })
    const daemon = start(
      'replicate',
      '-config',
      writeConfig(folder, { path: link, replicas: [replica] }),
    )
    await daemon.waitFor(/snapshot written/)
    const next = join(folder, 'shared/next.sqlite3')
    const nextOracle = join(folder, 'next.oracle')
    await write({ db: next, oracle: nextOracle, count: 7 })
    symlinkSync('../shared/next.sqlite3', `${link}.new`)
    renameSync(`${link}.new`, link)
    await daemon.waitFor(/level=ERROR.*replaced/, { timeoutMs: 5000 })
    await daemon.waitFor(/snapshot written/, { times: 2 })
    await write({ db: link, oracle: nextOracle, count: 3 })
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, join(folder, 'out'), nextOracle)).toEqual({ n: 10 })
    expect(listGenerations(replica)).toHaveLength(2)
  })
})
