/** Objects of a replica that are gone: what is restored is the newest commit, or it is said what is lost and what is left. */
import { cpSync, existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listGenerations,
  listObjects,
  type Outcome,
  run,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { lastAcknowledged, startWriter, verifyLedger, write } from '../support/ledger.ts'

let folder: string
let oracle: string
/** Two generations. The newer one has several indexes and two snapshots. */
let pristine: string
let older: string
let newer: string
let endOfOlder: number
let beginningOfNewer: number
let copies = 0

const segmentsOf = (replica: string, generation: string): string[] =>
  listObjects(replica).filter((name) => name.includes(`${generation}/wal/`))
const snapshotsOf = (replica: string, generation: string): string[] =>
  listObjects(replica).filter((name) => name.includes(`${generation}/snapshots/`))
const indexOf = (name: string): number => Number.parseInt(name.split('/').at(-1)!.slice(0, 8), 16)

beforeAll(async () => {
  folder = temporaryFolder()
  oracle = join(folder, 'oracle')
  pristine = join(folder, 'replica')
  const db = join(folder, 'app.db')
  const config = writeConfig(folder, {
    path: db,
    replicas: [{ path: pristine, 'snapshot-interval': '5s' }],
    syncInterval: '50ms',
    'min-checkpoint-page-count': 20,
  })
  await write({ db, oracle, count: 10 })
  const first = start('replicate', '-config', config)
  await first.waitFor(/snapshot written/)
  await write({ db, oracle, count: 10 })
  await first.stop()
  endOfOlder = lastAcknowledged(oracle)
  ;[older] = listGenerations(pristine) as [string]
  // Nobody watches: continuity cannot be proven after this.
  await write({ db, oracle, count: 10, autocheckpoint: 1 })
  beginningOfNewer = lastAcknowledged(oracle)
  const second = start('replicate', '-config', config)
  await second.waitFor(/snapshot written/)
  const checkpointKinds = ['TRUNCATE'] as const
  const writer = startWriter({ db, oracle, rate: 50, checkpointChance: 0.1, checkpointKinds })
  newer = await newGeneration()
  const hasEnough = (): boolean => {
    const snapshot = snapshotsOf(pristine, newer).at(-1)
    const last = segmentsOf(pristine, newer).at(-1)
    if (snapshot === undefined || last === undefined) return false
    return indexOf(snapshot) > 1 && indexOf(last) > indexOf(snapshot) + 1
  }
  await until(hasEnough, 60_000, 'a second snapshot and indexes behind it')
  await writer.stop()
  await second.stop()
})

async function newGeneration(): Promise<string> {
  let found: string | undefined
  const look = (): boolean => {
    found = listGenerations(pristine).find((name) => name !== older)
    return found !== undefined
  }
  await until(look, 20_000, 'a second generation')
  return found!
}

afterAll(() => cleanUp())

/** A copy of the replica without some objects. */
function without(isLost: (name: string) => boolean): string {
  copies += 1
  const copy = join(folder, `copy-${copies}`)
  cpSync(pristine, copy, { recursive: true, preserveTimestamps: true })
  for (const name of listObjects(copy)) if (isLost(name)) rmSync(join(copy, name))
  return copy
}

async function restored(replica: string): Promise<Outcome & { readonly out: string }> {
  copies += 1
  const out = join(folder, `out-${copies}`, 'app.db')
  return { ...(await run('restore', '-o', out, `file://${replica}`)), out }
}

/** Refused with this said and nothing left; then the command is run that was printed. Returns the last row it restores. */
async function refusedThenRestored(replica: string, said: RegExp): Promise<number> {
  const refused = await restored(replica)
  expect(refused.code, refused.stdout).toBe(1)
  expect(existsSync(refused.out)).toBe(false)
  expect(refused.stderr).toMatch(said)
  const command = /^hint: .*?: tsreplicate (restore .*)$/m.exec(refused.stderr)?.[1]
  expect(command, refused.stderr).toBeDefined()
  const left = await run(...command!.split(' '))
  expect(left.code, left.stderr).toBe(0)
  return verifyLedger(refused.out, oracle).n
}

describe('what a replica proves to have been stored is restored or refused', () => {
  test('whole, it is restored to the newest commit, without a word', async () => {
    const { code, stderr, out } = await restored(pristine)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(verifyLedger(out, oracle).n).toBe(lastAcknowledged(oracle))
  })

  test('without the segments of its newest generation', async () => {
    const replica = without((name) => name.includes(`${newer}/wal/`))
    const said = new RegExp(`WAL is missing from ${newer}/\\S+ to ${newer}/\\S+: .*snapshot.lz4`)
    expect(await refusedThenRestored(replica, said)).toBe(beginningOfNewer)
  })

  test('without the snapshots of its newest generation', async () => {
    const replica = without((name) => name.includes(`${newer}/snapshots/`))
    const said = new RegExp(`the snapshots of generation ${newer} are gone`)
    expect(await refusedThenRestored(replica, said)).toBe(endOfOlder)
  })

  test('without the segments from its newest snapshot’s index on', async () => {
    const from = indexOf(snapshotsOf(pristine, newer).at(-1)!)
    const isLost = (name: string): boolean =>
      name.includes(`${newer}/wal/`) && indexOf(name) >= from
    const n = await refusedThenRestored(without(isLost), /WAL is missing from \S+ to \S+: /)
    expect(n).toBeGreaterThan(endOfOlder)
    expect(n).toBeLessThan(lastAcknowledged(oracle))
  })

  test('without the last segment of an index', async () => {
    const segments = segmentsOf(pristine, newer)
    const last = indexOf(segments.at(-1)!)
    expect(last).toBeGreaterThan(indexOf(snapshotsOf(pristine, newer).at(-1)!))
    const lost = segments.findLast((name) => indexOf(name) === last - 1)!
    const replica = without((name) => name === lost)
    const said = new RegExp(`${lost}.*${newer}/\\S+ to ${newer}/`)
    const n = await refusedThenRestored(replica, said)
    expect(n).toBeGreaterThan(endOfOlder)
    expect(n).toBeLessThan(lastAcknowledged(oracle))
  })

  test('a program is not started on less', async () => {
    const replica = without((name) => name.includes(`${newer}/wal/`))
    const started = join(folder, 'started')
    const exec = `touch ${started}`
    const db = join(temporaryFolder(), 'app.db')
    const flags = ['-restore-if-db-not-exists', '-exec', exec]
    const { code, stderr } = await run('replicate', ...flags, db, `file://${replica}`)
    expect(code).toBe(1)
    expect(existsSync(started)).toBe(false)
    expect(existsSync(db)).toBe(false)
    expect(stderr).toMatch(/WAL is missing from/)
    const command = /^hint: .*?: tsreplicate (restore .*)$/m.exec(stderr)?.[1]
    expect(command, stderr).toBeDefined()
    const left = await run(...command!.split(' '))
    expect(left.code, left.stderr).toBe(0)
    expect(verifyLedger(db, oracle).n).toBe(beginningOfNewer)
  })
})
