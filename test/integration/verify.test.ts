import Database from 'better-sqlite3'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listObjects,
  litestream,
  type Outcome,
  run,
  Running,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { startWriter, write } from '../support/ledger.ts'

let folder: string
let pristine: string
let objects: string[]

beforeAll(async () => {
  folder = temporaryFolder()
  pristine = join(folder, 'replica')
  const db = join(folder, 'app.db')
  const oracle = join(folder, 'oracle')
  await write({ db, oracle, count: 1 })
  const config = writeConfig(folder, { path: db, replicas: [pristine], syncInterval: '50ms' })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  const writer = startWriter({ db, oracle, rate: 50, autocheckpoint: 20 })
  await until(() => listObjects(pristine).length >= 25, 60_000, '25 objects')
  await writer.stop()
  await daemon.stop()
  objects = listObjects(pristine)
})

afterAll(() => cleanUp())

interface Verified {
  readonly replica: string
  readonly level: string
  readonly verdict: string
  readonly problem: string | null
  readonly generations: readonly {
    readonly snapshots: number
    readonly segments: number
    readonly findings: readonly { severity: string; object?: string; problem: string }[]
  }[]
  readonly restored: { readonly comparison: { readonly verdict: string } } | null
}

function parse({ stdout }: Outcome): Verified {
  return (JSON.parse(stdout) as Verified[])[0]!
}

function verifyUrl(replica: string, ...flags: string[]): Promise<Outcome> {
  return run('verify', ...flags, `file://${replica}`)
}

let copies = 0
function damagedCopy(damage: (path: (object: string) => string) => void): string {
  copies += 1
  const copy = join(folder, `copy-${copies}`)
  cpSync(pristine, copy, { recursive: true, preserveTimestamps: true })
  damage((object) => join(copy, object))
  return copy
}

const segmentOf = (at: number): string =>
  objects.filter((name) => name.endsWith('.wal.lz4')).at(at)!
const snapshot = (): string => objects.find((name) => name.endsWith('.snapshot.lz4'))!

describe('verify', () => {
  test.each(['structure', 'full', 'restore'])('finds a sound replica sound: %s', async (level) => {
    const outcome = await verifyUrl(pristine, '-level', level)
    expect(outcome, outcome.stderr).toMatchObject({ code: 0, stderr: '' })
    expect(outcome.stdout).toMatch(/^replica {2}generation/)
    expect(outcome.stdout).toContain(`replica file is sound (${level})`)
    if (level === 'restore') {
      expect(outcome.stdout).toContain('not compared: there is no live database here')
    }
  })

  test('prints JSON', async () => {
    const result = parse(await verifyUrl(pristine, '--json', '-level=structure'))
    expect(result).toMatchObject({ replica: 'file', level: 'structure', verdict: 'sound' })
    expect(result.generations).toHaveLength(1)
    expect(result.generations[0]).toMatchObject({ snapshots: 1, segments: objects.length - 1 })
  })

  test.each(['structure', 'full'])('names a missing segment: %s', async (level) => {
    const missing = segmentOf(5)
    const copy = damagedCopy((path) => rmSync(path(missing)))
    const outcome = await verifyUrl(copy, '-level', level)
    expect(outcome.code).toBe(65)
    expect(outcome.stdout).toMatch(/^damage: replica file: .*missing/m)
    expect(outcome.stdout).toMatch(/the last commit .* ends at /)
    expect(outcome.stdout).toContain('replica file is damaged')
  })

  test('names a missing segment by its object where the index goes on', async () => {
    const offsets = objects.filter((name) => /_(?!00000000).*wal/.test(name))
    const missing = offsets.find((name, i) => {
      const index = name.slice(0, name.lastIndexOf('_'))
      return offsets[i + 1]?.startsWith(index) === true
    })!
    const copy = damagedCopy((path) => rmSync(path(missing)))
    const outcome = await verifyUrl(copy, '-level=structure')
    expect(outcome.stdout).toContain(`damage: replica file: ${missing}: it is missing`)
  })

  test('finds doubled segments', async () => {
    const at = objects.findIndex((name) => /_(?!00000000)[0-9a-f]{8}\.wal/.test(name))
    const name = objects[at]!
    const offset = Number.parseInt(name.slice(-16, -8), 16)
    const doubled = name.replace(/_[0-9a-f]{8}/, `_${(offset - 8).toString(16).padStart(8, '0')}`)
    const copy = damagedCopy((path) => cpSync(path(name), path(doubled)))
    const outcome = await verifyUrl(copy, '-level=structure')
    expect(outcome.code).toBe(65)
    expect(outcome.stdout).toContain(doubled)
  })

  test('finds the newest generation damaged without its snapshots, and warns of segments that serve nothing', async () => {
    const lost = damagedCopy((path) => rmSync(path(snapshot())))
    const outcome = await verifyUrl(lost)
    expect(outcome.code).toBe(65)
    expect(outcome.stdout).toMatch(/^damage: .*its snapshots are missing/m)
    expect(outcome.stdout).toContain('replica file is damaged: the newest generation, ')
    const later = damagedCopy((path) => {
      const bytes = readFileSync(path(snapshot()))
      rmSync(path(snapshot()))
      writeFileSync(path(snapshot().replace('00000000.snap', '00000001.snap')), bytes)
    })
    expect((await verifyUrl(later, '-level=structure')).stdout).toMatch(
      /^warning: .* segments before its oldest snapshot cannot be used/m,
    )
  })

  test('finds every object that is not what was stored', async () => {
    const undetected: string[] = []
    for (const object of objects) {
      const copy = damagedCopy((path) => {
        const bytes = readFileSync(path(object))
        // One bit may say the same in other words: where a run of zeros is copied from.
        const at = Math.floor(bytes.length * 0.4)
        for (let i = at; i < at + 8; i += 1) bytes[i] = bytes[i]! ^ 0xff
        writeFileSync(path(object), bytes)
      })
      const outcome = await verifyUrl(copy)
      if (outcome.code !== 65 || !outcome.stdout.includes(object)) undetected.push(object)
      rmSync(copy, { recursive: true })
    }
    expect(undetected).toEqual([])
  })

  test('finds two damaged objects at once', async () => {
    const damaged = [segmentOf(3), segmentOf(9)]
    const copy = damagedCopy((path) => {
      for (const object of damaged) {
        writeFileSync(path(object), readFileSync(path(object)).subarray(0, 60))
      }
    })
    const outcome = await verifyUrl(copy)
    for (const object of damaged) expect(outcome.stdout).toContain(object)
  })

  test('says that nothing is stored', async () => {
    const outcome = await verifyUrl(join(folder, 'none'))
    expect(outcome).toMatchObject({ code: 1, stderr: '' })
    expect(outcome.stdout).toContain('replica file is not verified: nothing is stored there')
  })

  test('verifies what Litestream has stored, whose objects have no trailers', async () => {
    const own = temporaryFolder()
    const db = join(own, 'app.db')
    const oracle = join(own, 'oracle')
    const replica = join(own, 'replica')
    await write({ db, oracle, count: 3 })
    const theirs = new Running('litestream', litestream, ['replicate', db, `file://${replica}`])
    await theirs.waitFor(/snapshot written/)
    const writer = startWriter({ db, oracle, rate: 20, autocheckpoint: 0 })
    await theirs.waitFor(/wal segment written/, { times: 4 })
    await writer.stop()
    await theirs.stop()
    for (const level of ['structure', 'full', 'restore']) {
      const outcome = await verifyUrl(replica, '-level', level)
      expect(outcome.code, outcome.stdout).toBe(0)
    }
    const inner = listObjects(replica).filter((name) => name.endsWith('.wal.lz4'))[1]!
    rmSync(join(replica, inner))
    const outcome = await verifyUrl(replica)
    expect(outcome.code).toBe(65)
    expect(outcome.stdout).toMatch(/a segment is missing|is missing/)
  })

  test('refuses a level that is none', async () => {
    expect((await verifyUrl(pristine, '-level=best')).code).toBe(2)
  })
})

describe('verify -level restore', () => {
  interface Scene {
    readonly db: string
    readonly oracle: string
    readonly replica: string
    readonly config: string
    readonly daemon: Running
  }

  async function replicating(settings: object = {}): Promise<Scene> {
    const own = temporaryFolder()
    const db = join(own, 'app.db')
    const oracle = join(own, 'oracle')
    const replica = join(own, 'replica')
    await write({ db, oracle, count: 20, rows: 5 })
    const config = writeConfig(own, {
      path: db,
      replicas: [{ path: replica, ...settings }],
      syncInterval: '50ms',
    })
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/snapshot written/)
    return { db, oracle, replica, config, daemon }
  }

  async function verified({ config, db }: Scene, code = 0): Promise<Verified> {
    const outcome = await run('verify', '--json', '-level=restore', '-config', config, db)
    expect(outcome.code, outcome.stdout + outcome.stderr).toBe(code)
    return parse(outcome)
  }

  test('finds the live database the same, with what is in its WAL', async () => {
    const scene = await replicating()
    await write({ db: scene.db, oracle: scene.oracle, count: 30, autocheckpoint: 0 })
    await scene.daemon.waitFor(/wal segment written/)
    const writer = startWriter({ db: scene.db, oracle: scene.oracle, rate: 1, autocheckpoint: 0 })
    await writer.waitFor(/ready/)
    expect((await verified(scene)).restored!.comparison).toMatchObject({ verdict: 'same' })
    await writer.stop()
    await scene.daemon.stop()
    expect((await verified(scene)).restored!.comparison).toMatchObject({
      verdict: 'same',
      changedPages: 0,
    })
  })

  test('finds it the same while it is written to and checkpointed', async () => {
    const scene = await replicating()
    const { db, oracle } = scene
    const writer = startWriter({ db, oracle, rate: 50, autocheckpoint: 20, checkpointChance: 0.05 })
    await scene.daemon.waitFor(/wal segment written/, { times: 10 })
    for (let time = 0; time < 3; time += 1) {
      expect((await verified(scene)).restored!.comparison).toMatchObject({ verdict: 'same' })
    }
    await writer.stop()
    await scene.daemon.stop()
  })

  test('notices a page of the database that changed behind SQLite’s back', async () => {
    const scene = await replicating()
    await scene.daemon.stop()
    const { db } = scene
    const live = new Database(db)
    // The WAL stays, and with it what tells that nothing was committed since.
    live.pragma('wal_autocheckpoint = 0')
    live.exec('create table more (x)')
    const daemon = start('replicate', '-config', scene.config)
    await daemon.waitFor(/wal segment written/)
    await until(async () => (await verified(scene)).verdict === 'sound', 20_000, 'a sound replica')
    // A daemon that sees it begins a new generation with it.
    await daemon.stop()
    const bytes = readFileSync(db)
    const at = bytes.length - 100
    bytes[at] = bytes[at]! ^ 1
    writeFileSync(db, bytes, { flag: 'r+' })
    const result = await verified(scene, 65)
    expect(result.verdict).toBe('damaged')
    expect(result.problem).toMatch(/is different from the live database .* in 1 page/)
    live.close()
  })

  test('cannot compare with a database that went on unreplicated', async () => {
    const scene = await replicating()
    await scene.daemon.stop()
    await write({ db: scene.db, oracle: scene.oracle, count: 10 })
    expect((await verified(scene)).restored!.comparison).toMatchObject({ verdict: 'inconclusive' })
  })

  test('leaves nothing behind, removes what a crash left, and refuses a full disk', async () => {
    const scene = await replicating()
    await scene.daemon.stop()
    const temporary = join(temporaryFolder(), 'copies')
    mkdirSync(join(temporary, 'tsreplicate-verify-999999999'), { recursive: true })
    const flags = ['-level=restore', '-temp-path', temporary]
    const outcome = await run('verify', ...flags, `file://${scene.replica}`)
    expect(outcome.code, outcome.stdout).toBe(0)
    expect(readdirSync(temporary)).toEqual([])
    const full = await run(
      'verify',
      '-level=restore',
      '-temp-path=/proc',
      `file://${scene.replica}`,
    )
    expect(full.code).toBe(1)
    expect(full.stdout).toContain('not enough space for a restored copy in /proc')
  })

  test('is done by the daemon now and then, and told in its log', async () => {
    const scene = await replicating({ 'validation-interval': '300ms' })
    const { db, oracle, daemon } = scene
    const writer = startWriter({ db, oracle, rate: 30, autocheckpoint: 20, checkpointChance: 0.05 })
    await daemon.waitFor(/msg=validator .*status=ok/, { times: 4, timeoutMs: 60_000 })
    await writer.stop()
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(daemon.output).not.toMatch(/invalid replica|validation error/)
    expect(daemon.output).toMatch(/database=same compared=\d+ changed=\d+ elapsed=\d+ms/)
    expect(readdirSync(join(db, '..')).filter((name) => name.includes('validation'))).toEqual([])
    expect(existsSync(join(db, '..', '.app.db-tsreplicate', 'validation-file.json'))).toBe(true)
  })

  test('is told by the daemon when a stored object is damaged', async () => {
    const scene = await replicating({ 'validation-interval': '300ms' })
    await scene.daemon.waitFor(/msg=validator .*status=ok/)
    const stored = listObjects(scene.replica).find((name) => name.endsWith('.snapshot.lz4'))!
    const path = join(scene.replica, stored)
    const bytes = readFileSync(path)
    bytes[200] = bytes[200]! ^ 1
    writeFileSync(path, bytes)
    await scene.daemon.waitFor(/level=ERROR msg="invalid replica"/)
    expect(scene.daemon.output).toContain(stored)
    await scene.daemon.stop()
  })
})
