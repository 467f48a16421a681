import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import Database from 'better-sqlite3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fileImages } from '../../src/infrastructure/image/file-image.js'
import { FileReplicaClient } from '../../src/infrastructure/replica-clients/file/file-replica-client.js'
import { restoreDatabase } from '../../src/usecase/restore/restore-database.js'
import { type RestoreReport, type RestoreRequest } from '../../src/usecase/restore/restore-types.js'
import { imageEntries } from '../support/image-entries.ts'

const litestream = join(
  import.meta.dirname,
  '../../node_modules/@flydotio/litestream-linux-x64/litestream',
)
/** Threads run what is built. */
const clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal }),
}

function restore(
  replica: string,
  outputPath: string,
  request: Partial<RestoreRequest> = {},
): Promise<RestoreReport> {
  return restoreDatabase(
    {
      sources: [
        { name: 'file', client: new FileReplicaClient({ path: replica, owner: undefined }) },
      ],
      generation: undefined,
      target: { kind: 'latest' },
      outputPath,
      parallelism: 4,
      integrityCheck: 'full',
      dryRun: false,
      ...request,
    },
    { image: fileImages(imageEntries), clock },
    new AbortController().signal,
  )
}

/** Lets the original replicate a database through several WALs; the last content of the folder is settled. */
async function replicate(folder: string, pageSizeBytes: number): Promise<string> {
  const path = join(folder, 'db')
  const replica = join(folder, 'replica')
  const database = new Database(path)
  database.pragma(`page_size = ${pageSizeBytes}`)
  database.pragma('journal_mode = wal')
  database.pragma('wal_autocheckpoint = 0')
  database.exec('create table t (id integer primary key, value blob)')
  const config = join(folder, 'litestream.yml')
  await writeFile(
    config,
    `dbs:\n  - path: ${path}\n    min-checkpoint-page-count: 20\n    monitor-interval: 50ms\n    replicas:\n      - path: ${replica}\n        sync-interval: 50ms\n`,
  )
  const daemon = spawn(litestream, ['replicate', '-config', config], { stdio: 'ignore' })
  const exited = once(daemon, 'exit')
  try {
    const insert = database.prepare('insert into t (value) values (randomblob(?))')
    for (let round = 0; round < 12; round += 1) {
      database.transaction(() => {
        for (let row = 0; row < 40; row += 1) insert.run(700)
      })()
      if (round % 4 === 3) database.exec('delete from t where id % 3 = 0')
      await sleep(150)
    }
    await sleep(600)
  } finally {
    daemon.kill('SIGINT')
    await exited
    database.close()
  }
  return replica
}

async function objects(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true })
  return entries.filter((entry) => entry.endsWith('.lz4')).sort()
}

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tsreplicate-restore-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe('restoring what the original has stored', () => {
  it.each([512, 1024, 4096, 65536])(
    'gives the same bytes, with pages of %i bytes',
    async (pageSize) => {
      const home = await mkdtemp(join(folder, 'page-'))
      const replica = await replicate(home, pageSize)
      const theirs = join(home, 'theirs')
      await promisify(execFile)(litestream, ['restore', '-o', theirs, `file://${replica}`])
      const ours = join(home, 'out/ours')
      const report = await restore(replica, ours)
      expect((await readFile(ours)).equals(await readFile(theirs))).toBe(true)
      expect(report.pageSizeBytes).toBe(pageSize)
      expect(report.timeIsApproximate).toBe(true)
      expect(report.position.index).toBeGreaterThan(1)
      expect(await readdir(join(home, 'out'))).toEqual(['ours'])
    },
  )

  it('refuses an output with a WAL beside it, and says so without restoring, too', async () => {
    const home = await mkdtemp(join(folder, 'exists-'))
    const replica = await replicate(home, 4096)
    await writeFile(join(home, 'a-wal'), '')
    await expect(restore(replica, join(home, 'a'))).rejects.toMatchObject({ code: 'OUTPUT_EXISTS' })
    const { notes } = await restore(replica, join(home, 'a'), { dryRun: true })
    expect(notes).toEqual([
      `in the way, and to be moved before the restore: ${join(home, 'a-wal')}`,
    ])
    expect(await stat(join(home, 'a')).catch(() => undefined)).toBeUndefined()
  })

  it('fails without a trace when any object is damaged', async () => {
    const home = await mkdtemp(join(folder, 'damage-'))
    const replica = await replicate(home, 4096)
    const names = await objects(replica)
    const last = names.findLast((name) => name.includes('/wal/'))
    const endsIndex = (name: string): boolean => {
      const next = names[names.indexOf(name) + 1]
      return next === undefined || next.endsWith('_00000000.wal.lz4')
    }
    expect(names.length).toBeGreaterThan(4)
    const damaged = join(home, 'damaged')
    const damages: Record<string, (content: Buffer) => Buffer | undefined> = {
      gone: () => undefined,
      empty: () => Buffer.alloc(0),
      cut: (content) => content.subarray(0, content.length - 5),
      short: (content) => content.subarray(0, content.length >> 1),
      flipped: (content) => {
        const copy = Buffer.from(content)
        const at = copy.length >> 1
        copy[at] = (copy[at] ?? 0) ^ 1
        return copy
      },
      longer: (content) => Buffer.concat([content, Buffer.from('more')]),
    }
    for (const name of names) {
      for (const [kind, damage] of Object.entries(damages)) {
        // The original says nowhere where an index ends: a lost end cannot be told from none.
        if (kind === 'gone' && (name === last || endsIndex(name))) continue
        await rm(damaged, { recursive: true, force: true })
        await cp(replica, damaged, { recursive: true })
        const content = damage(await readFile(join(replica, name)))
        if (content === undefined) await rm(join(damaged, name))
        else await writeFile(join(damaged, name), content)
        await expect(
          restore(damaged, join(home, 'out/db')),
          `${name} ${kind}`,
        ).rejects.toMatchObject({
          code: expect.stringMatching(/^(CORRUPTION|NO_BACKUP)$/) as unknown,
        })
        expect(await readdir(join(home, 'out')).catch(() => [])).toEqual([])
      }
    }
  })

  it('passes over a replica that is damaged', async () => {
    const home = await mkdtemp(join(folder, 'second-'))
    const replica = await replicate(home, 4096)
    const damaged = join(home, 'damaged')
    await cp(replica, damaged, { recursive: true, preserveTimestamps: true })
    const [name] = (await objects(damaged)).filter((each) => each.includes('/wal/')).slice(-1)
    await writeFile(join(damaged, name ?? ''), 'x')
    const sources = [damaged, replica].map((path) => ({
      name: path === damaged ? 'damaged' : 'good',
      client: new FileReplicaClient({ path, owner: undefined }),
    }))
    const report = await restore(replica, join(home, 'out'), { sources })
    expect(report.replica).toBe('good')
  })

  it('names the first moment that can be restored', async () => {
    const home = await mkdtemp(join(folder, 'early-'))
    const replica = await replicate(home, 4096)
    await expect(
      restore(replica, join(home, 'out'), { target: { kind: 'timestamp', timeMs: 1000 } }),
    ).rejects.toMatchObject({
      code: 'NO_BACKUP',
      message: expect.stringMatching(/approximately \d{4}-/) as unknown,
    })
  })
})
