import Database from 'better-sqlite3'
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  program,
  Running,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { hasCompiler, Trap } from '../support/kill-at-call.ts'
import {
  lastAcknowledged,
  restoreAndVerify,
  startWriter,
  summaryOf,
  write,
} from '../support/ledger.ts'

afterEach(cleanUp)

interface Place {
  readonly db: string
  readonly oracle: string
  readonly replica: string
}

function place(folder: string, name: string): Place {
  return {
    db: join(folder, `${name}.db`),
    oracle: join(folder, `${name}.oracle`),
    replica: join(folder, `${name}.replica`),
  }
}

const configured = ({ db, replica }: Place): { path: string; replicas: string[] } => ({
  path: db,
  replicas: [replica],
})

describe('databases side by side', () => {
  test('of every page size are replicated live, and broken ones among them stop none', async () => {
    const folder = temporaryFolder()
    const sizes = [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]
    const places = sizes.map((size) => ({ size, ...place(folder, `page-${size}`) }))
    for (const { size, db, oracle } of places) await write({ db, oracle, count: 5, pageSize: size })
    const garbage = place(folder, 'garbage')
    writeFileSync(garbage.db, 'this is not a database, '.repeat(400))
    const directory = place(folder, 'directory')
    mkdirSync(directory.db)
    const broken = [garbage, directory]
    const daemon = start(
      'replicate',
      '-config',
      writeConfig(folder, ...[...broken, ...places].map(configured)),
    )
    await daemon.waitFor(/not a database/)
    await daemon.waitFor(/not a regular file/)
    await daemon.waitFor(/snapshot written/, { times: sizes.length, timeoutMs: 60_000 })
    const writers = places.map(({ db, oracle }, i) =>
      startWriter({ db, oracle, seed: i + 1, rate: 20, count: 60, autocheckpoint: 20 }),
    )
    for (const writer of writers) await summaryOf(writer)
    // What is broken is not stored, which the exit code says.
    expect(await daemon.stop()).toBe(74)
    for (const { size, db, oracle, replica } of places) {
      const output = join(folder, `${size}.restored`)
      expect(await restoreAndVerify(replica, output, oracle)).toEqual({
        n: lastAcknowledged(oracle),
      })
      const restored = new Database(output, { readonly: true })
      expect(restored.pragma('page_size', { simple: true })).toBe(size)
      restored.close()
      expect(listGenerations(replica)).toHaveLength(1)
      expect(statSync(db).isFile()).toBe(true)
    }
    for (const { replica } of broken) expect(listObjects(replica)).toEqual([])
  })
})

describe('a database', () => {
  test('that is an empty file is waited for', async () => {
    const folder = temporaryFolder()
    const { db, oracle, replica } = place(folder, 'app')
    writeFileSync(db, '')
    const daemon = start('replicate', db, `file://${replica}`)
    await daemon.waitFor(/waiting for the database to be created/)
    expect(statSync(db).size).toBe(0)
    await write({ db, oracle, count: 20, rate: 20 })
    await daemon.waitFor(/snapshot written/)
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, join(folder, 'out'), oracle)).toEqual({ n: 20 })
  })

  test('that another process holds exclusively is said once to be locked, and replicated when it is let go', async () => {
    const folder = temporaryFolder()
    const { db, oracle, replica } = place(folder, 'app')
    const neighbour = place(folder, 'neighbour')
    await write({ db, oracle, count: 5 })
    await write({ db: neighbour.db, oracle: neighbour.oracle, count: 5 })
    const owner = new Database(db)
    owner.pragma('journal_mode = DELETE')
    owner.exec('begin exclusive')
    const daemon = start(
      'replicate',
      '-config',
      writeConfig(folder, configured({ db, oracle, replica }), configured(neighbour)),
    )
    await daemon.waitFor(/database is locked/)
    await daemon.waitFor(/snapshot written/)
    await until(
      () => listGenerations(neighbour.replica).length === 1,
      10_000,
      'the neighbour to be stored',
    )
    expect(listObjects(replica)).toEqual([])
    expect(daemon.count(/sync error/)).toBe(1)
    owner.exec('commit')
    owner.close()
    await daemon.waitFor(/sync recovered/, { timeoutMs: 45_000 })
    await daemon.waitFor(/snapshot written/, { times: 2 })
    await write({ db, oracle, count: 5 })
    expect(await daemon.stop()).toBe(0)
    expect(await restoreAndVerify(replica, join(folder, 'out'), oracle)).toEqual({ n: 10 })
  })

  test('that is locked for a moment at the start is waited for, without an error', async () => {
    const folder = temporaryFolder()
    const { db, oracle, replica } = place(folder, 'app')
    await write({ db, oracle, count: 5 })
    const owner = new Database(db)
    owner.pragma('journal_mode = DELETE')
    owner.exec('begin exclusive')
    const daemon = start('replicate', db, `file://${replica}`)
    await daemon.waitFor(/replicating to/)
    // Longer than a transaction, shorter than what is an error.
    await sleep(2000)
    owner.exec('commit')
    owner.close()
    await daemon.waitFor(/snapshot written/)
    expect(daemon.count(/level=ERROR|locked/), daemon.output).toBe(0)
    await daemon.stop()
  })

  test('that is deleted right after its last commits is stored to the last of them', async () => {
    const folder = temporaryFolder()
    const { db, oracle, replica } = place(folder, 'app')
    await write({ db, oracle, count: 8 })
    const config = writeConfig(folder, configured({ db, oracle, replica }))
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    await daemon.waitFor(/at rest/)
    // It sees neither the commits nor the application's end before the file is gone.
    daemon.signal('SIGSTOP')
    await write({ db, oracle, count: 12 })
    for (const suffix of ['', '-wal', '-shm']) rmSync(db + suffix)
    daemon.signal('SIGCONT')
    await daemon.waitFor(/database file was deleted/)
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(daemon.output).not.toContain('could not be read')
    expect(await restoreAndVerify(replica, join(folder, 'out'), oracle)).toEqual({ n: 20 })
  })

  test.skipIf(!hasCompiler)(
    'that is deleted with commits for which there is no room is an error, and what was stored before is kept',
    async () => {
      const folder = temporaryFolder()
      const { db, oracle, replica } = place(folder, 'app')
      await write({ db, oracle, count: 8 })
      const config = writeConfig(folder, configured({ db, oracle, replica }))
      const call = { calls: 'write,sync', path: '/spool/[0-9a-f]{16}/.*[.]lz4[.].*[.]tmp$' }
      const trap = new Trap(folder, call, { moment: 'fail', nth: 0, error: 'ENOSPC', armed: false })
      const command = [program, 'replicate', '-config', config]
      const daemon = new Running('tsreplicate', process.execPath, command, trap.env)
      await daemon.waitFor(/snapshot written/)
      await daemon.waitFor(/at rest/)
      daemon.signal('SIGSTOP')
      await write({ db, oracle, count: 12 })
      for (const suffix of ['', '-wal', '-shm']) rmSync(db + suffix)
      trap.arm()
      daemon.signal('SIGCONT')
      // By whichever comes first, the capture or the look at the file.
      await daemon.waitFor(/level=ERROR msg="(the last commits|sync error).* err=".*ENOSPC/)
      trap.disarm()
      await daemon.stop()
      expect(await restoreAndVerify(replica, join(folder, 'out'), oracle)).toEqual({ n: 8 })
    },
  )

  test('that is deleted keeps its replica, and made again begins a generation', async () => {
    const folder = temporaryFolder()
    const { db, oracle, replica } = place(folder, 'app')
    await write({ db, oracle, count: 8 })
    const daemon = start(
      'replicate',
      '-config',
      writeConfig(folder, configured({ db, oracle, replica })),
    )
    await daemon.waitFor(/snapshot written/)
    const [first] = listGenerations(replica)
    for (const suffix of ['', '-wal', '-shm']) rmSync(db + suffix, { force: true })
    await daemon.waitFor(/database file was deleted/, { timeoutMs: 5000 })
    const again = { db, oracle: join(folder, 'again.oracle') }
    await write({ ...again, count: 3, seed: 5 })
    await daemon.waitFor(/snapshot written/, { times: 2 })
    await write({ ...again, count: 3, seed: 6 })
    expect(await daemon.stop()).toBe(0)
    expect(listGenerations(replica)).toHaveLength(2)
    expect(await restoreAndVerify(replica, join(folder, 'new'), again.oracle)).toEqual({ n: 6 })
    const old = await restoreAndVerify(replica, join(folder, 'old'), oracle, '-generation', first!)
    expect(old).toEqual({ n: 8 })
  })
})
