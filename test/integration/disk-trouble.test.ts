import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, start, startAs, temporaryFolder, until, writeConfig } from '../support/cli.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'
import {
  lastAcknowledged,
  restoreAndVerify,
  startWriter,
  summaryOf,
  write,
} from '../support/ledger.ts'
import { onThisMachine } from '../support/patience.ts'

const mounts = new Set<string>()

function mount(...args: string[]): boolean {
  return spawnSync('mount', args, { stdio: 'ignore' }).status === 0
}

/** A file system of its own. */
function mountSmall(folder: string, size: string): void {
  mkdirSync(folder, { recursive: true })
  if (!mount('-t', 'tmpfs', '-o', `size=${size},mode=0755`, 'tmpfs', folder))
    throw new Error(`cannot mount ${folder}`)
  mounts.add(folder)
}

function canMount(): boolean {
  const folder = join(temporaryFolder(), 'probe')
  try {
    mountSmall(folder, '64k')
  } catch {
    return false
  }
  unmount(folder)
  return true
}

function unmount(folder: string): void {
  if (spawnSync('umount', [folder], { stdio: 'ignore' }).status !== 0)
    spawnSync('umount', ['-l', folder], { stdio: 'ignore' })
  mounts.delete(folder)
}

afterEach(async () => {
  await cleanUp({ keepFolders: true })
  for (const folder of mounts) unmount(folder)
  await cleanUp()
})

/** A file that takes all the room there is left. */
function fill(path: string): void {
  try {
    writeFileSync(path, Buffer.alloc(64 * 1024 * 1024))
  } catch {
    // That it does not fit is the purpose.
  }
}

interface Scene {
  readonly folder: string
  readonly db: string
  readonly oracle: string
  readonly good: string
}

function scene(): Scene {
  const folder = temporaryFolder()
  return {
    folder,
    db: join(folder, 'app.db'),
    oracle: join(folder, 'oracle'),
    good: join(folder, 'good'),
  }
}

const load = { rate: 50, rows: 2, payloadBytes: 1000, autocheckpoint: 100 }

/**
 * What begins to fail and later does not, on a replica called `bad`: said once, over without a restart, nothing lost, and
 * neither the application nor another replica notice.
 */
async function expectReplicaOutlives(
  { folder, db, oracle, good }: Scene,
  bad: string,
  trouble: { begin: () => void; message: RegExp; end: () => void },
): Promise<void> {
  await write({ db, oracle, count: 3 })
  const replicas = [
    { name: 'good', path: good },
    { name: 'bad', path: bad },
  ]
  const daemon = start('replicate', '-config', writeConfig(folder, { path: db, replicas }))
  await daemon.waitFor(/snapshot written/, { times: 2 })
  const writer = startWriter({ db, oracle, ...load })
  await writer.waitFor(/ready/)
  trouble.begin()
  await daemon.waitFor(trouble.message)
  const before = lastAcknowledged(oracle)
  await until(() => lastAcknowledged(oracle) > before + 300, 30_000, 'the application to go on')
  expect(daemon.count(/replica sync failed/)).toBe(1)
  const { n } = await restoreAndVerify(good, join(folder, 'meanwhile.db'), oracle)
  expect(n).toBeGreaterThan(before)
  trouble.end()
  await daemon.waitFor(/replica recovered/, { timeoutMs: 45_000 })
  writer.child.kill('SIGTERM')
  const summary = await summaryOf(writer)
  expect(await daemon.stop()).toBe(0)
  expect(summary.commitMaxMs).toBeLessThan(onThisMachine(5000))
  expect(daemon.count(/replica sync failed/)).toBe(1)
  expect(daemon.count(/new generation/)).toBe(1)
  const last = { n: lastAcknowledged(oracle) }
  expect(await restoreAndVerify(bad, join(folder, 'bad.db'), oracle)).toEqual(last)
  expect(await restoreAndVerify(good, join(folder, 'good.db'), oracle)).toEqual(last)
  expect(leftovers(bad)).toEqual([])
}

function leftovers(folder: string): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  return names.filter((name) => name.endsWith('.tmp'))
}

/** The same of the local state; there it is the capture that stops, and goes on. */
async function expectSpoolOutlives(
  { folder, db, oracle, good }: Scene,
  meta: string,
  trouble: { begin: () => void | Promise<void>; message: RegExp; end: () => void },
): Promise<void> {
  await write({ db, oracle, count: 3 })
  const config = writeConfig(folder, { path: db, 'meta-path': meta, replicas: [good] })
  const daemon = start('replicate', '-config', config)
  await daemon.waitFor(/snapshot written/)
  const writer = startWriter({ db, oracle, ...load, checkpointChance: 0.02 })
  await writer.waitFor(/ready/)
  await trouble.begin()
  await daemon.waitFor(trouble.message)
  const before = lastAcknowledged(oracle)
  await until(() => lastAcknowledged(oracle) > before + 500, 30_000, 'the application to go on')
  expect(daemon.count(/sync error/)).toBe(1)
  trouble.end()
  await daemon.waitFor(/sync recovered/, { timeoutMs: 45_000 })
  writer.child.kill('SIGTERM')
  const summary = await summaryOf(writer)
  expect(await daemon.stop()).toBe(0)
  expect(daemon.count(/sync error/)).toBe(1)
  // Behind a reader that is held and not renewed it would be the busy timeout, 30 s.
  expect(summary.maxCheckpointMs).toBeLessThan(onThisMachine(5000))
  expect(await restoreAndVerify(good, join(folder, 'end.db'), oracle)).toEqual({
    n: lastAcknowledged(oracle),
  })
}

const mountable = canMount()
if (!mountable)
  sayAtTheEnd('full and read-only disks were not tested: that takes root, to mount them')

describe.skipIf(!mountable)('a disk', () => {
  test('that is full stops only the replica on it, until there is room', async () => {
    const made = scene()
    const bad = join(made.folder, 'bad')
    mountSmall(bad, '8m')
    await expectReplicaOutlives(made, bad, {
      begin: () => fill(join(bad, 'filler')),
      message: /no space left on device \(ENOSPC\)/,
      end: () => rmSync(join(bad, 'filler')),
    })
  })

  test('that becomes read-only stops only the replica on it, until it is writable', async () => {
    const made = scene()
    const bad = join(made.folder, 'bad')
    mountSmall(bad, '64m')
    await expectReplicaOutlives(made, bad, {
      begin: () => remount(bad, 'ro'),
      message: /read-only file system \(EROFS\)/,
      end: () => remount(bad, 'rw'),
    })
  })

  test('that is full under the spool stops the capture, until there is room', async () => {
    const made = scene()
    const meta = join(made.folder, 'meta')
    mountSmall(meta, '8m')
    await expectSpoolOutlives(made, meta, {
      begin: () => fill(join(meta, 'filler')),
      message: /no space left on device \(ENOSPC\)/,
      end: () => rmSync(join(meta, 'filler')),
    })
  })

  test('that becomes read-only under the spool stops the capture, until it is writable', async () => {
    const made = scene()
    const meta = join(made.folder, 'meta')
    mountSmall(meta, '64m')
    await expectSpoolOutlives(made, meta, {
      begin: () => remount(meta, 'ro'),
      message: /read-only file system \(EROFS\)/,
      end: () => remount(meta, 'rw'),
    })
  })
})

/** While a file on it is being written that is refused. */
function remount(folder: string, mode: 'ro' | 'rw'): void {
  for (let tries = 0; !mount('-o', `remount,${mode}`, folder); tries += 1) {
    if (tries > 1000) throw new Error(`cannot remount ${folder}`)
  }
}

/** Somebody who is not root, and can run the program. */
const nobody = 65_534
const canBeNobody =
  process.getuid?.() === 0 &&
  spawnSync(process.execPath, ['-e', '0'], { uid: nobody, gid: nobody }).status === 0
if (!canBeNobody)
  sayAtTheEnd('lost permissions were not tested: that takes root, to run the program as nobody')

describe.skipIf(!canBeNobody)('permissions', () => {
  test('that are lost on a replica or the spool are reported once, and it goes on when they are back', async () => {
    const { folder, db, oracle, good } = scene()
    const bad = join(folder, 'bad')
    const meta = join(folder, 'meta')
    await write({ db, oracle, count: 3 })
    for (const path of [good, bad, meta]) mkdirSync(path)
    for (const path of [folder, db, good, bad, meta]) chownSync(path, nobody, nobody)
    const config = writeConfig(folder, {
      path: db,
      'meta-path': meta,
      replicas: [
        { name: 'good', path: good },
        { name: 'bad', path: bad },
      ],
    })
    const daemon = startAs(nobody, 'replicate', '-config', config)
    await daemon.waitFor(/snapshot written/, { times: 2 })
    const writer = startWriter({ db, oracle, ...load })
    await writer.waitFor(/ready/)

    chmodSync(bad, 0o000)
    await daemon.waitFor(/permission denied \(EACCES\)/)
    let before = lastAcknowledged(oracle)
    await until(() => lastAcknowledged(oracle) > before + 200, 30_000, 'the application to go on')
    expect(daemon.count(/replica sync failed/)).toBe(1)
    chmodSync(bad, 0o700)
    await daemon.waitFor(/replica recovered/, { timeoutMs: 45_000 })

    const spool = join(meta, 'spool')
    const [generation] = readdirSync(spool)
    const generationFolder = join(spool, generation!)
    const { mode } = statSync(generationFolder)
    chmodSync(generationFolder, 0o500)
    await daemon.waitFor(/sync error/)
    before = lastAcknowledged(oracle)
    await until(() => lastAcknowledged(oracle) > before + 200, 30_000, 'the application to go on')
    expect(daemon.count(/sync error/)).toBe(1)
    chmodSync(generationFolder, mode)
    await daemon.waitFor(/sync recovered/, { timeoutMs: 45_000 })

    writer.child.kill('SIGTERM')
    await summaryOf(writer)
    expect(await daemon.stop()).toBe(0)
    const last = { n: lastAcknowledged(oracle) }
    expect(await restoreAndVerify(bad, join(folder, 'bad.db'), oracle)).toEqual(last)
    expect(await restoreAndVerify(good, join(folder, 'good.db'), oracle)).toEqual(last)
  })
})
