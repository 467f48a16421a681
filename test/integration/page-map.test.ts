/**
 * A generation goes on where the WAL does not prove that nothing was missed: what changed is stored, the database is not.
 * Applications are processes of their own, or open the database in this one while no daemon is looked at.
 */
import Database from 'better-sqlite3'
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { WalCapture } from '../../src/infrastructure/sqlite/wal-capture.js'
import { type CapturedRun } from '../../src/usecase/ports/managed-database.js'
import {
  cleanUp,
  listGenerations,
  listObjects,
  restore,
  run,
  type Running,
  runLitestream,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { lastAcknowledged, startWriter, verifyLedger, write } from '../support/ledger.ts'
import { seeded } from '../support/random.ts'

afterEach(cleanUp)

class Scene {
  readonly folder = temporaryFolder()
  readonly db = join(this.folder, 'app.db')
  readonly oracle = join(this.folder, 'oracle')
  readonly replica = join(this.folder, 'replica')
  readonly state = join(this.folder, '.app.db-tsreplicate')
  readonly files = { db: this.db, oracle: this.oracle }
  readonly #database: Readonly<Record<string, unknown>>
  config = ''
  #restores = 0

  constructor(database: Readonly<Record<string, unknown>> = {}) {
    this.#database = database
    this.configure({})
  }

  configure(replica: Readonly<Record<string, unknown>>): void {
    this.config = writeConfig(this.folder, {
      path: this.db,
      'page-map': true,
      replicas: [{ path: this.replica, ...replica }],
      ...this.#database,
    })
  }

  async startDaemon(): Promise<Running> {
    const daemon = start('replicate', '-config', this.config)
    await daemon.waitFor(/generation continues|new generation/)
    return daemon
  }

  /** As the daemon says. */
  async resumed(): Promise<unknown> {
    const { stdout } = await run('status', '--json', '-config', this.config)
    const { databases } = JSON.parse(stdout) as { databases: readonly { resumed: unknown }[] }
    return databases[0]?.resumed
  }

  /** Of all objects, in bytes. */
  get storedBytes(): number {
    return listObjects(this.replica).reduce(
      (sum, name) => sum + statSync(join(this.replica, name)).size,
      0,
    )
  }

  get snapshotCount(): number {
    return listObjects(this.replica).filter((name) => name.includes('/snapshots/')).length
  }

  /** Restores the newest commit with both programs, and proves that it is the newest commit of the application. */
  async verify(): Promise<void> {
    this.#restores += 1
    const ours = join(this.folder, `ours-${this.#restores}.db`)
    const theirs = join(this.folder, `theirs-${this.#restores}.db`)
    await restore(this.replica, ours)
    const outcome = await runLitestream('restore', '-o', theirs, `file://${this.replica}`)
    expect(outcome.code, outcome.stderr).toBe(0)
    expect(readFileSync(ours).equals(readFileSync(theirs))).toBe(true)
    const { n } = verifyLedger(ours, this.oracle)
    expect(n).toBeGreaterThanOrEqual(lastAcknowledged(this.oracle))
    rmSync(ours)
    rmSync(theirs)
  }
}

/** The last connection to close copies everything back, and deletes the WAL. */
function copyBackAndClose(path: string): void {
  const database = new Database(path)
  database.pragma('schema_version')
  database.close()
}

test('daemon and application are stopped and started together: what changed is stored, and no snapshot', async () => {
  const scene = new Scene()
  await write({ ...scene.files, count: 2000, payloadBytes: 1000, keepRows: 10_000 })
  const first = await scene.startDaemon()
  await first.waitFor(/snapshot written/)
  await write({ ...scene.files, count: 5, keepRows: 10_000 })
  expect(await first.stop()).toBe(0)
  // Nobody watches: the last of these to close copies all of the WAL back, and deletes it.
  await write({ ...scene.files, count: 5, keepRows: 10_000 })
  const before = scene.storedBytes
  const second = await scene.startDaemon()
  await write({ ...scene.files, count: 5, keepRows: 10_000 })
  expect(await scene.resumed()).toMatchObject({
    how: 'appended',
    reason: 'no wal',
    scannedPages: expect.any(Number) as number,
    changedPages: expect.any(Number) as number,
    storedBytes: expect.any(Number) as number,
  })
  expect(await second.stop()).toBe(0)
  expect(second.output).toMatch(/generation continues.*how=appended/)
  expect(second.count(/msg=resumed/)).toBe(1)
  expect(second.output).toMatch(
    /msg=resumed.*how=appended.*scannedPages=\d+ changedPages=\d+ sz=\d+/,
  )
  expect(second.output).toMatch(/level=WARN.*stored as one.*from=\S+Z to=\S+Z/)
  expect(first.output).toMatch(/msg=resumed.*how=new reason="no generation exists"/)
  expect(listGenerations(scene.replica)).toHaveLength(1)
  expect(scene.snapshotCount).toBe(1)
  expect(scene.storedBytes - before).toBeLessThan(200_000)
  await scene.verify()
})

test('where nothing has changed, nothing is stored', async () => {
  const scene = new Scene()
  await write({ ...scene.files, count: 50 })
  const first = await scene.startDaemon()
  await first.waitFor(/snapshot written/)
  await write({ ...scene.files, count: 5 })
  expect(await first.stop()).toBe(0)
  copyBackAndClose(scene.db)
  const before = listObjects(scene.replica)
  for (let round = 0; round < 2; round += 1) {
    const daemon = await scene.startDaemon()
    expect(await daemon.stop()).toBe(0)
    expect(daemon.output).toMatch(/msg=resumed.*how=scanned.*changedPages=0 sz=0/)
    expect(daemon.output).not.toMatch(/level=WARN/)
    expect(listObjects(scene.replica)).toEqual(before)
  }
  const daemon = await scene.startDaemon()
  await write({ ...scene.files, count: 5 })
  expect(await daemon.stop()).toBe(0)
  expect(listGenerations(scene.replica)).toHaveLength(1)
  await scene.verify()
})

test('a restart before the first commit of a generation stores nothing, and what was committed unseen is its first index', async () => {
  const scene = new Scene()
  await write({ ...scene.files, count: 50 })
  const first = await scene.startDaemon()
  await first.waitFor(/snapshot written/)
  expect(await first.stop()).toBe(0)
  const before = listObjects(scene.replica)
  const second = await scene.startDaemon()
  expect(await second.stop()).toBe(0)
  expect(second.output).toMatch(/generation continues.*how=scanned/)
  expect(listObjects(scene.replica)).toEqual(before)
  await write({ ...scene.files, count: 5 })
  const third = await scene.startDaemon()
  await write({ ...scene.files, count: 5 })
  expect(await third.stop()).toBe(0)
  expect(third.output).toMatch(/generation continues.*how=appended/)
  expect(listGenerations(scene.replica)).toHaveLength(1)
  expect(scene.snapshotCount).toBe(1)
  await scene.verify()
})

test('a map that was lost is there again after the next snapshot', async () => {
  const scene = new Scene()
  await write({ ...scene.files, count: 50 })
  const first = await scene.startDaemon()
  await first.waitFor(/snapshot written/)
  // As long as somebody has it open, nobody deletes the WAL: it proves that the generation goes on.
  const application = new Database(scene.db)
  application.pragma('schema_version')
  await write({ ...scene.files, count: 5 })
  expect(await first.stop()).toBe(0)
  for (const name of readdirSync(scene.state, { recursive: true, encoding: 'utf8' }))
    if (name.endsWith('pages.map')) rmSync(join(scene.state, name))
  // One whose snapshots are due: what differs is not known yet.
  scene.configure({ 'snapshot-interval': '1s' })
  const second = await scene.startDaemon()
  const snapshots = second.count(/snapshot written/)
  const again = startWriter({ ...scene.files, rate: 50 })
  await second.waitFor(/snapshot written/, { times: snapshots + 2 })
  expect(second.output).toMatch(/generation continues.*how=proven/)
  expect(await second.stop()).toBe(0)
  await again.stop()
  application.close()
  await write({ ...scene.files, count: 5 })
  const generations = listGenerations(scene.replica)
  scene.configure({})
  const third = await scene.startDaemon()
  expect(await third.stop()).toBe(0)
  expect(third.output).toMatch(/generation continues.*how=appended/)
  expect(listGenerations(scene.replica)).toEqual(generations)
  await scene.verify()
})

test('a container that has lost its disk restores, and goes on in the generation without storing anything', async () => {
  const scene = new Scene({ 'restore-if-db-not-exists': true })
  await write({ ...scene.files, count: 50 })
  const first = await scene.startDaemon()
  await first.waitFor(/snapshot written/)
  await write({ ...scene.files, count: 5 })
  expect(await first.stop()).toBe(0)
  const loseDisk = (): void => {
    for (const name of readdirSync(scene.folder))
      if (/^\.?app\.db/.test(name)) rmSync(join(scene.folder, name), { recursive: true })
  }
  loseDisk()
  const before = listObjects(scene.replica)
  const second = await scene.startDaemon()
  expect(await second.stop()).toBe(0)
  expect(second.output).toMatch(/database restored/)
  expect(second.output).toMatch(/msg=resumed.*how=scanned/)
  expect(listObjects(scene.replica)).toEqual(before)
  await write({ ...scene.files, count: 5 })
  const third = await scene.startDaemon()
  await write({ ...scene.files, count: 5 })
  // One that is killed may still write, for all that anybody knows: the next one begins a generation.
  await third.waitFor(/wal segment written/)
  await third.kill()
  loseDisk()
  const fourth = await scene.startDaemon()
  await fourth.waitFor(/new generation.*taken over from another writer/)
  await fourth.waitFor(/snapshot written/)
  expect(await fourth.stop()).toBe(0)
  expect(listGenerations(scene.replica)).toHaveLength(2)
  await restore(scene.replica, join(scene.folder, 'end.db'))
  verifyLedger(join(scene.folder, 'end.db'), scene.oracle)
})

describe('a WAL behind a difference', () => {
  const ours = {
    position: { index: 7, offset: 32 + 4120 },
    bigEndian: false,
    salts: { salt1: 1, salt2: 2 },
    checksum: { s0: 3, s1: 4 },
  }

  function opened(before: (writer: Database.Database, file: string) => void = () => undefined): {
    capture: WalCapture
    writer: Database.Database
    insert: () => void
  } {
    const file = join(temporaryFolder(), 'app.db')
    const writer = new Database(file)
    writer.pragma('journal_mode = wal')
    writer.pragma('wal_autocheckpoint = 0')
    writer.exec('create table t (n integer primary key, text text)')
    const insert = (): void => void writer.prepare('insert into t (text) values (?)').run('x')
    insert()
    before(writer, file)
    const capture = new WalCapture(file)
    capture.open()
    return { capture, writer, insert }
  }

  const take = (capture: WalCapture): readonly CapturedRun[] => {
    const result = capture.capture(1 << 24)
    expect(result).toMatchObject({ continuity: { kind: 'continuous' }, more: false })
    return result.runs
  }

  test('that was captured goes on in the index of ours', () => {
    const { capture, writer, insert } = opened()
    expect(capture.begin(undefined)).toEqual({ kind: 'continuous' })
    const last = take(capture).at(-1)
    const source = capture.continueAs(ours)
    expect(source).toEqual({
      salts: last?.salts,
      endOffset: last?.end.offset,
      checksum: last?.checksumAfter,
    })
    insert()
    const [next] = take(capture)
    expect(next).toMatchObject({
      start: ours.position,
      salts: ours.salts,
      checksumBefore: ours.checksum,
    })
    expect(next?.bytes.length).toBe(4120)
    capture.close()
    writer.close()
  })

  test.each(['appended to', 'restarted'])(
    'of which nothing was captured, as all of it was copied back, is never captured anew when it is %s',
    (next) => {
      let reader: Database.Database | undefined
      const { capture, writer, insert } = opened((before, file) => {
        if (next === 'appended to') {
          // A reader on its last frame keeps the WAL from being restarted.
          reader = new Database(file)
          reader.exec('begin')
          reader.prepare('select * from t').all()
        }
        before.pragma('wal_checkpoint(PASSIVE)')
      })
      expect(capture.begin(undefined)).toEqual({ kind: 'continuous' })
      expect(take(capture)).toEqual([])
      expect(capture.continueAs(ours)).not.toHaveProperty('kind')
      insert()
      const [run, ...others] = take(capture)
      expect(others).toEqual([])
      if (next === 'appended to') {
        expect(run).toMatchObject({ start: ours.position, checksumBefore: ours.checksum })
        expect(run?.bytes.length).toBe(4120)
      } else {
        expect(run?.start).toEqual({ index: 8, offset: 0 })
        expect(run?.bytes.length).toBe(32 + 4120)
      }
      reader?.close()
      capture.close()
      writer.close()
    },
  )

  test('that is gone is followed by whatever comes next, from its beginning', () => {
    const { capture, writer, insert } = opened((before) => {
      before.pragma('wal_checkpoint(TRUNCATE)')
    })
    expect(capture.begin(undefined)).toEqual({ kind: 'continuous' })
    expect(take(capture)).toEqual([])
    expect(capture.continueAs(ours)).not.toHaveProperty('kind')
    insert()
    expect(take(capture)).toMatchObject([
      {
        start: { index: 8, offset: 0 },
        previousIndexEnd: { offset: ours.position.offset, checksum: ours.checksum },
      },
    ])
    capture.close()
    writer.close()
  })
})

const rounds = Number(process.env.TSREPLICATE_PAGE_MAP_ROUNDS ?? 3)

test(
  `${rounds} times in a row, beside writers that checkpoint, vacuum, shrink, grow and are killed`,
  { timeout: 120_000 + rounds * 20_000 },
  async () => {
    const seed = Number(process.env.TSREPLICATE_SEED ?? 1)
    const random = seeded(seed)
    const scene = new Scene({ 'min-checkpoint-page-count': 50 })
    const options = {
      ...scene.files,
      autocheckpoint: 20,
      checkpointChance: 0.05,
      checkpointKinds: ['PASSIVE', 'FULL', 'RESTART', 'TRUNCATE'] as const,
      vacuumChance: 0.005,
      shrinkChance: 0.02,
      schemaChance: 0.01,
      bigTransactionRows: 300,
      keepRows: 3000,
    }
    await write({ ...options, count: 200, payloadBytes: 600 })
    const hows: string[] = []
    for (let round = 0; round < rounds; round += 1) {
      const where = `seed ${seed}, round ${round}`
      const daemon = await scene.startDaemon()
      if (round === 0) await daemon.waitFor(/snapshot written/)
      const writer = startWriter({ ...options, rate: 100, seconds: 60, seed: round })
      const captured = daemon.count(/wal segment written/)
      await daemon.waitFor(/wal segment written/, {
        times: captured + 2 + Math.floor(random() * 5),
      })
      hows.push(/how=(\w+)/.exec(daemon.output)?.[1] ?? 'new')
      // Both orders, with and without notice.
      const isDaemonFirst = random() < 0.5
      const end = async (which: Running): Promise<void> => {
        if (random() < 0.5) await which.kill()
        else await which.stop()
      }
      if (isDaemonFirst) {
        await end(daemon)
        const unseen = lastAcknowledged(scene.oracle) + 1 + Math.floor(random() * 30)
        await until(
          () => lastAcknowledged(scene.oracle) > unseen,
          20_000,
          'commits that nobody sees',
        )
        await writer.kill()
      } else {
        await writer.kill()
        if (random() < 0.5) await write({ ...options, count: 3, seed: round })
        await end(daemon)
      }
      // The last to close copies everything back.
      if (random() < 0.7)
        await write({ ...options, count: 1 + Math.floor(random() * 20), seed: round })
      const last = await scene.startDaemon()
      hows.push(/how=(\w+)/.exec(last.output)?.[1] ?? 'new')
      expect(await last.stop(), where).toBe(0)
      await scene.verify()
    }
    expect(hows).toContain('appended')
    // A vacuum that nobody sees may move more than is worth appending.
    expect(listGenerations(scene.replica).length).toBeLessThan(hows.length)
  },
)
