import Database from 'better-sqlite3'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  program,
  restore,
  root,
  run,
  Running,
  runLitestream,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import {
  lastAcknowledged,
  readOracle,
  startWriter,
  verifyLedger,
  write,
} from '../support/ledger.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'
import { canListen, listenForNotifications } from '../support/notify-listener.ts'
import { expectMomentsHit } from '../support/point-in-time.ts'

afterEach(cleanUp)

/** Adds rows up to this number. */
function fill(path: string, upTo: number): void {
  const database = new Database(path)
  try {
    database.pragma('journal_mode = wal')
    database.exec('CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)')
    const insert = database.prepare('INSERT OR IGNORE INTO t VALUES (?)')
    for (let n = 1; n <= upTo; n += 1) insert.run(n)
  } finally {
    database.close()
  }
}

async function restoredRows(replica: string, output: string): Promise<number> {
  await restore(replica, output)
  const database = new Database(output, { readonly: true })
  try {
    return Number(database.prepare('SELECT count(*) FROM t').pluck().get())
  } finally {
    database.close()
  }
}

const reloaded = /configuration reloaded/
const firstObject = /snapshot written/

describe('a signal', () => {
  it('that asks for a reload during the start is heeded when the start is over', async () => {
    const folder = temporaryFolder()
    // A store that is asked for a backup, and gives the signal before it answers that there is none.
    const asked = Promise.withResolvers<undefined>()
    const goOn = Promise.withResolvers<undefined>()
    const store = createServer((request, response) => {
      asked.resolve(undefined)
      void goOn.promise.then(() => {
        response.statusCode = request.url?.includes('list-type') === true ? 200 : 404
        response.end('<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>')
      })
    }).listen(0, '127.0.0.1')
    try {
      await once(store, 'listening')
      const { port } = store.address() as AddressInfo
      const replica = { type: 's3', bucket: 'b', path: 'p', endpoint: `http://127.0.0.1:${port}` }
      const keys = { 'access-key-id': 'k', 'secret-access-key': 's' }
      const config = writeConfig(folder, {
        path: join(folder, 'a.db'),
        'restore-if-db-not-exists': true,
        replicas: [{ ...replica, ...keys }],
      })
      const daemon = start('replicate', '-config', config)
      await asked.promise
      daemon.signal('SIGHUP')
      goOn.resolve(undefined)
      await daemon.waitFor(reloaded)
      expect(await daemon.stop(), daemon.output).toBe(0)
    } finally {
      store.closeAllConnections()
      store.close()
    }
  })

  it('that means nothing ends no daemon and opens no debugger', async () => {
    const folder = temporaryFolder()
    const replica = join(folder, 'replica')
    fill(join(folder, 'a.db'), 10)
    const config = writeConfig(folder, { path: join(folder, 'a.db'), replicas: [replica] })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(firstObject)
    daemon.signal('SIGUSR1')
    daemon.signal('SIGUSR2')
    fill(join(folder, 'a.db'), 20)
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(daemon.output).not.toMatch(/debugger/i)
    expect(await restoredRows(replica, join(folder, 'restored.db'))).toBe(20)
  })
})

describe('SIGHUP', () => {
  it('adds, changes and removes databases, and leaves the others alone', async () => {
    const folder = temporaryFolder()
    const at = (name: string): string => join(folder, name)
    for (const name of ['a.db', 'b.db', 'c.db']) fill(at(name), 10)
    const a = { path: at('a.db'), replicas: [at('replica-a')] }
    const config = writeConfig(folder, a, { path: at('b.db'), replicas: [at('replica-b')] })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(firstObject, { times: 2 })

    // At a sync interval of an hour, only the last sync stores what is written now.
    writeConfig(folder, a, { path: at('b.db'), replicas: [at('replica-b')], syncInterval: '1h' })
    daemon.child.kill('SIGHUP')
    await daemon.waitFor(/another configuration/)
    fill(at('b.db'), 20)
    writeConfig(folder, a, { path: at('c.db'), replicas: [at('replica-c')] })
    daemon.child.kill('SIGHUP')
    await daemon.waitFor(/no longer replicated/)
    await daemon.waitFor(firstObject, { times: 3 })
    expect(await restoredRows(at('replica-b'), at('restored-b.db'))).toBe(20)

    fill(at('b.db'), 30)
    for (const name of ['a.db', 'c.db']) fill(at(name), 30)
    expect(await daemon.stop()).toBe(0)
    expect(await restoredRows(at('replica-a'), at('restored-a.db'))).toBe(30)
    expect(await restoredRows(at('replica-c'), at('restored-c.db'))).toBe(30)
    expect(listGenerations(at('replica-a'))).toHaveLength(1)
    expect(listGenerations(at('replica-b'))).toHaveLength(1)
  })

  it('moves one replica of a database to another place while its neighbour goes on', async () => {
    const folder = temporaryFolder()
    const at = (name: string): string => join(folder, name)
    fill(at('a.db'), 10)
    const stays = { path: at('stays'), name: 'stays' }
    const moves = (place: string): object => ({ path: at(place), name: 'moves' })
    const config = writeConfig(folder, {
      path: at('a.db'),
      replicas: [stays, moves('old') as { path: string }],
    })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(firstObject, { times: 2 })
    fill(at('a.db'), 20)
    writeConfig(folder, { path: at('a.db'), replicas: [stays, moves('new') as { path: string }] })
    daemon.child.kill('SIGHUP')
    await daemon.waitFor(/another configuration/)
    expect(await restoredRows(at('old'), at('restored-old.db'))).toBe(20)
    fill(at('a.db'), 30)
    expect(await daemon.stop()).toBe(0)
    expect(await restoredRows(at('new'), at('restored-new.db'))).toBe(30)
    expect(await restoredRows(at('stays'), at('restored-stays.db'))).toBe(30)
  })

  it('adds a replica in the midst of a generation, which goes on: that one gets a snapshot of its own, and every later commit', async () => {
    const folder = temporaryFolder()
    const at = (name: string): string => join(folder, name)
    const [db, oracle] = [at('app.db'), at('oracle')]
    const first = { path: at('first'), name: 'first' }
    const second = { path: at('second'), name: 'second' }
    const writer = startWriter({ db, oracle, rate: 100, autocheckpoint: 20 })
    const config = writeConfig(folder, { path: db, replicas: [first] })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(firstObject)
    // Nothing but the newest segments is kept locally.
    await daemon.waitFor(/wal segment written/, { times: 10 })
    const before = lastAcknowledged(oracle)
    writeConfig(folder, { path: db, replicas: [first, second] })
    daemon.signal('SIGHUP')
    await daemon.waitFor(reloaded)
    await daemon.waitFor(/snapshot written.*replica=second|replica=second.*snapshot written/)
    expect(daemon.count(/msg="new generation"/)).toBe(1)
    expect(daemon.count(/snapshot written/)).toBe(2)
    expect(daemon.output).not.toMatch(/level=(WARN|ERROR)/)
    const whole = Date.now()
    await restore(at('second'), at('meanwhile.db'))
    expect(verifyLedger(at('meanwhile.db'), oracle).n).toBeGreaterThanOrEqual(before)
    const soFar = daemon.count(/wal segment written/)
    await daemon.waitFor(/wal segment written/, { times: soFar + 40 })
    await writer.stop()
    expect(await daemon.stop(), daemon.output).toBe(0)

    expect(listGenerations(at('first'))).toHaveLength(1)
    expect(listGenerations(at('second'))).toEqual(listGenerations(at('first')))
    for (const { name, path } of [first, second]) {
      await restore(path, at(`${name}-end.db`))
      expect(verifyLedger(at(`${name}-end.db`), oracle)).toEqual({ n: lastAcknowledged(oracle) })
      const outcome = await run('verify', `file://${path}`)
      expect(outcome.code, outcome.stdout).toBe(0)
    }
    const commits = readOracle(oracle).filter(({ timeMs }) => timeMs > whole)
    await expectMomentsHit({ folder, oracle, replica: at('second'), commits }, at('second'), 4)
  })

  it('gives a replica that was emptied, and one that was away past the spool, a snapshot of their own: the third notices nothing', async () => {
    const folder = temporaryFolder()
    const at = (name: string): string => join(folder, name)
    const [db, oracle] = [at('app.db'), at('oracle')]
    const names = ['stays', 'emptied', 'away'] as const
    const config = writeConfig(folder, {
      path: db,
      replicas: names.map((name) => ({ name, path: join(at(name), 'replica') })),
      'max-spool-size': '300KB',
      'min-checkpoint-page-count': 10,
    })
    await write({ db, oracle, count: 10 })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(firstObject, { times: 3 })
    const application = new Database(db)
    /** Whether the next commit begins the WAL anew. */
    const isRestarted = (): boolean => {
      const [outcome] = application.pragma('wal_checkpoint(RESTART)') as { busy: number }[]
      return outcome?.busy === 0
    }
    /** Each is stored on so many replicas before the next one, and begins an index. */
    const commit = async (replicas: number): Promise<void> => {
      await until(isRestarted, 30_000, 'a WAL that can begin anew')
      const times = daemon.count(/wal segment written/) + replicas
      await write({ db, oracle, count: 1, payloadBytes: 60_000 })
      await daemon.waitFor(/wal segment written/, { times })
    }
    await commit(3)
    renameSync(at('away'), at('elsewhere'))
    writeFileSync(at('away'), 'no folder')
    while (daemon.count(/spool is full/) === 0) await commit(2)
    await commit(2)
    rmSync(at('emptied'), { recursive: true })
    await commit(1)
    await daemon.waitFor(/snapshot written/, { times: 4 })
    rmSync(at('away'))
    renameSync(at('elsewhere'), at('away'))
    await daemon.waitFor(/snapshot written/, { times: 5 })
    await commit(3)
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(daemon.count(/msg="new generation"/), daemon.output).toBe(1)
    expect(daemon.output).toMatch(
      /lacks commits that are no longer kept here.*replica=away.*missing=/,
    )
    const snapshots = (name: string): number =>
      listObjects(at(name)).filter((path) => path.includes('/snapshots/')).length
    expect(names.map(snapshots)).toEqual([1, 1, 2])
    for (const name of names) {
      const replica = join(at(name), 'replica')
      await restore(replica, at(`${name}-ours.db`))
      expect(verifyLedger(at(`${name}-ours.db`), oracle)).toEqual({ n: lastAcknowledged(oracle) })
      const theirs = await runLitestream('restore', '-o', at(`${name}.db`), `file://${replica}`)
      expect(theirs.code, theirs.stderr).toBe(0)
      expect(verifyLedger(at(`${name}.db`), oracle)).toEqual({ n: lastAcknowledged(oracle) })
      const outcome = await run('verify', `file://${replica}`)
      // What lies between can be restored from the others alone.
      expect(outcome.code, outcome.stdout).toBe(name === 'away' ? 65 : 0)
      if (name === 'away') expect(outcome.stdout).toMatch(/nothing is stored from \S+ to \S+/)
    }
  })

  it('adds a replica while all of the generation is still kept locally: it goes on, with a snapshot of its own there', async () => {
    const folder = temporaryFolder()
    const at = (name: string): string => join(folder, name)
    const [db, oracle] = [at('app.db'), at('oracle')]
    const first = { path: at('first'), name: 'first' }
    const second = { path: at('second'), name: 'second' }
    await write({ db, oracle, count: 10 })
    const config = writeConfig(folder, { path: db, replicas: [first] })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(firstObject)
    await write({ db, oracle, count: 1 })
    await daemon.waitFor(/wal segment written/)
    writeConfig(folder, { path: db, replicas: [first, second] })
    daemon.signal('SIGHUP')
    await daemon.waitFor(firstObject, { times: 2 })
    await write({ db, oracle, count: 10 })
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(listGenerations(at('first'))).toHaveLength(1)
    expect(listGenerations(at('second'))).toEqual(listGenerations(at('first')))
    for (const { name, path } of [first, second]) {
      await restore(path, at(`${name}-end.db`))
      expect(verifyLedger(at(`${name}-end.db`), oracle)).toEqual({ n: 21 })
    }
  })

  it('changes nothing when the file is wrong, and names every problem', async () => {
    const folder = temporaryFolder()
    const at = (name: string): string => join(folder, name)
    fill(at('a.db'), 10)
    const config = writeConfig(folder, { path: at('a.db'), replicas: [at('replica')] })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(firstObject)
    writeFileSync(config, 'dbs:\n  - path: /x.db\n    replica: []\n  - pat: /y.db\n')
    daemon.child.kill('SIGHUP')
    await daemon.waitFor(/nothing has changed/, { times: 3 })
    for (const problem of [/dbs\[0\]\.replica: /, /dbs\[1\]\.pat: /, /dbs\[1\]\.path: /]) {
      expect(daemon.output).toMatch(problem)
    }
    fill(at('a.db'), 20)
    expect(await daemon.stop()).toBe(0)
    expect(daemon.output).not.toMatch(reloaded)
    expect(await restoredRows(at('replica'), at('restored.db'))).toBe(20)
  })

  it('ends a daemon that has no configuration file, after its last sync', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'a.db')
    fill(path, 10)
    const daemon = start('replicate', path, `file://${folder}/replica`)
    await daemon.waitFor(firstObject)
    daemon.child.kill('SIGHUP')
    expect(await daemon.exit()).toBe(0)
  })
})

const hasSystemdAnalyze = spawnSync('systemd-analyze', ['--version']).status === 0
if (!canListen) {
  sayAtTheEnd('what systemd is told was not tested: that takes systemd-notify and python3')
}
if (!hasSystemdAnalyze) sayAtTheEnd('the systemd unit was not tested: that takes systemd-analyze')

describe.skipIf(!canListen)('a service manager', () => {
  it('is told of the start, of signs of life, of reloads and of the end', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'a.db')
    fill(path, 10)
    const config = writeConfig(folder, { path, replicas: [join(folder, 'replica')] })
    const { listener, socket } = await listenForNotifications(folder)
    const daemon = new Running(
      'tsreplicate',
      process.execPath,
      [program, 'replicate', '-config', config],
      { NOTIFY_SOCKET: socket, WATCHDOG_USEC: '1000000' },
    )
    await listener.waitFor(/READY=1\\nSTATUS=replicating 1 database/)
    // Not before there is something to restore.
    expect(listObjects(join(folder, 'replica'))).not.toEqual([])
    await listener.waitFor(/WATCHDOG=1/, { times: 3 })
    daemon.child.kill('SIGHUP')
    await listener.waitFor(/RELOADING=1\\nMONOTONIC_USEC=\d{6,}/)
    await listener.waitFor(/READY=1/, { times: 2 })
    expect(await daemon.stop()).toBe(0)
    await listener.waitFor(/STOPPING=1\\nSTATUS=[a-z ]+\\nEXTEND_TIMEOUT_USEC=90000000/)
    expect(listener.output.indexOf('EXTEND_TIMEOUT')).toBeLessThan(listener.output.indexOf('READY'))
  })
})

describe.skipIf(!hasSystemdAnalyze)('the unit', () => {
  const unit = join(root, 'systemd/tsreplicate.service')

  it('is valid to systemd', () => {
    // The man page that it names is not installed with a checkout; archive.test.ts looks for it where it is.
    const words = ['verify', '--man=no', unit]
    const { status, stderr } = spawnSync('systemd-analyze', words, { encoding: 'utf8' })
    expect(stderr).toBe('')
    expect(status).toBe(0)
  })

  it('is exposed little', () => {
    const { stdout } = spawnSync('systemd-analyze', ['security', '--offline=true', unit], {
      encoding: 'utf8',
    })
    expect(Number(/exposure level[^:]*: ([\d.]+)/.exec(stdout)?.[1])).toBeLessThanOrEqual(2.5)
  })
})
