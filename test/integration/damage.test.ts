import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
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
import { createInterface, type Interface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listObjects,
  restore,
  root,
  start,
  temporaryFolder,
  until,
  writeConfig,
} from '../support/cli.ts'
import { readOracle, startWriter, verifyLedger, write } from '../support/ledger.ts'

/** Many restores in one process. */
class Restorer {
  readonly #child: ChildProcess
  readonly #answers: Interface
  readonly #exited: Promise<unknown>

  constructor() {
    this.#child = spawn(process.execPath, [join(root, 'test/support/restore-many.mjs')], {
      stdio: ['pipe', 'ignore', 'ignore', 'pipe'],
    })
    this.#exited = once(this.#child, 'exit')
    this.#answers = createInterface({ input: this.#child.stdio[3] as NodeJS.ReadableStream })
  }

  async restore(replica: string, output: string): Promise<number> {
    const answer = once(this.#answers, 'line')
    const args = ['restore', '-o', output, `file://${replica}`]
    this.#child.stdin!.write(`${JSON.stringify(args)}\n`)
    const first = await Promise.race([
      answer,
      this.#exited.then(() => Promise.reject(new Error('the restoring process has ended'))),
    ])
    return Number((first as [string])[0])
  }

  async end(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited.catch(() => undefined)
  }
}

let folder: string
let pristine: string
let oracle: string
let objects: string[]
let restorer: Restorer

beforeAll(async () => {
  folder = temporaryFolder()
  pristine = join(folder, 'replica')
  oracle = join(folder, 'oracle')
  const db = join(folder, 'app.db')
  await write({ db, oracle, count: 1 })
  const daemon = start(
    'replicate',
    '-config',
    writeConfig(folder, { path: db, replicas: [pristine], syncInterval: '50ms' }),
  )
  await daemon.waitFor(/snapshot written/)
  const writer = startWriter({ db, oracle, rate: 25, rows: 2, autocheckpoint: 10 })
  await until(() => listObjects(pristine).length >= 62, 60_000, '62 objects')
  await writer.stop()
  await daemon.stop()
  objects = listObjects(pristine)
  restorer = new Restorer()
})

afterAll(async () => {
  await restorer.end()
  await cleanUp()
})

type Damage = (path: string, neighbour: string) => void

const damages: Record<string, Damage> = {
  deleted: (path) => rmSync(path),
  cut: (path) => {
    const bytes = readFileSync(path)
    writeFileSync(path, bytes.subarray(0, bytes.length >> 1))
  },
  flipped: (path) => {
    const bytes = readFileSync(path)
    const at = Math.floor(bytes.length * 0.4)
    bytes[at] = bytes[at]! ^ 0x10
    writeFileSync(path, bytes)
  },
  emptied: (path) => writeFileSync(path, ''),
  doubled: (path) => {
    const bytes = readFileSync(path)
    writeFileSync(path, Buffer.concat([bytes, bytes]))
  },
  swapped: (path, neighbour) => {
    const bytes = readFileSync(path)
    writeFileSync(path, readFileSync(neighbour))
    writeFileSync(neighbour, bytes)
  },
}

describe('a replica of 60 objects and more', () => {
  test('is whole', async () => {
    expect(objects.length).toBeGreaterThanOrEqual(60)
    await restore(pristine, join(folder, 'whole.db'))
    expect(verifyLedger(join(folder, 'whole.db'), oracle)).toEqual({
      n: readOracle(oracle).at(-1)!.n,
    })
  })

  for (const [name, damage] of Object.entries(damages)) {
    test(`is refused when any one object is ${name}`, async () => {
      const damaged = join(folder, `damaged-${name}`)
      const out = join(folder, `out-${name}`)
      mkdirSync(out)
      cpSync(pristine, damaged, { recursive: true })
      expect(await restorer.restore(damaged, join(out, 'app.db'))).toBe(0)
      rmSync(join(out, 'app.db'))
      const outcomes: string[] = []
      for (const [i, object] of objects.entries()) {
        const neighbour = objects[(i + 1) % objects.length]!
        damage(join(damaged, object), join(damaged, neighbour))
        const code = await restorer.restore(damaged, join(out, 'app.db'))
        // 1 is a refusal; 0 would be an acceptance, 70 a bug.
        if (code !== 1) outcomes.push(`${code} for ${object}`)
        if (code !== 0) expect(readdirSync(out)).toEqual([])
        rmSync(join(out, 'app.db'), { force: true })
        for (const touched of [object, neighbour])
          cpSync(join(pristine, touched), join(damaged, touched))
      }
      expect(outcomes).toEqual([])
    })
  }

  test('without its very last segment, of which nothing else tells, is the commit that ended the one before', async () => {
    const shorter = join(folder, 'shorter')
    cpSync(pristine, shorter, { recursive: true })
    rmSync(join(shorter, objects.at(-1)!))
    const output = join(folder, 'shorter.db')
    expect(await restorer.restore(shorter, output)).toBe(1)
    const owners = readdirSync(shorter).filter((name) => name.startsWith('tsreplicate-owner'))
    expect(owners).not.toEqual([])
    for (const name of owners) rmSync(join(shorter, name))
    await restore(shorter, output)
    const { n } = verifyLedger(output, oracle)
    expect(n).toBeLessThan(readOracle(oracle).at(-1)!.n)
    expect(existsSync(`${output}-wal`)).toBe(false)
  })
})
