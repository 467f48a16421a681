import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fileImages } from '../../src/infrastructure/image/file-image.js'
import { restoreDatabase } from '../../src/usecase/restore/restore-database.js'
import {
  type RestoreProgress,
  type RestoreReport,
  type RestoreRequest,
} from '../../src/usecase/restore/restore-types.js'
import { program } from '../support/cli.ts'
import { storeHistory, type StoredHistory } from '../support/stored-history.ts'
import { imageEntries } from '../support/image-entries.ts'

/** Threads run what is built. */
const clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal }),
}

let folder: string
let history: StoredHistory
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tsreplicate-many-'))
  history = await storeHistory({
    commits: 600,
    commit: (database, n) => {
      if (n === 0) database.exec('create table t (id integer primary key, value blob)')
      else database.prepare('insert into t (value) values (randomblob(?))').run((n % 7) * 900)
    },
  })
})
afterAll(() => rm(folder, { recursive: true, force: true }))

function restore(
  { client }: StoredHistory,
  options: {
    request?: Partial<RestoreRequest>
    onProgress?: (progress: RestoreProgress) => void
    signal?: AbortSignal
  } = {},
): Promise<RestoreReport> {
  return restoreDatabase(
    {
      sources: [{ name: 'memory', client }],
      generation: undefined,
      target: { kind: 'latest' },
      outputPath: join(folder, 'out/db'),
      parallelism: 64,
      integrityCheck: 'full',
      dryRun: false,
      ...options.request,
    },
    {
      image: fileImages(imageEntries),
      clock,
      onProgress: options.onProgress ?? (() => undefined),
    },
    options.signal ?? new AbortController().signal,
  )
}

describe('restoring from hundreds of segments', () => {
  it('fetches as many at once as it may, applies them in order, and says how far it is', async () => {
    let inFlight = 0
    let most = 0
    history.client.beforeOperation = async (operation) => {
      if (operation !== 'read') return
      inFlight += 1
      most = Math.max(most, inFlight)
      // Later requests are often answered before earlier ones.
      await sleep(5 + Math.random() * 20)
      inFlight -= 1
    }
    const progress: RestoreProgress[] = []
    try {
      await restore(history, { onProgress: (each) => progress.push(each) })
    } finally {
      history.client.beforeOperation = undefined
    }
    expect((await readFile(join(folder, 'out/db'))).equals(history.database)).toBe(true)
    expect(await readdir(join(folder, 'out'))).toEqual(['db'])
    await rm(join(folder, 'out/db'))
    expect(most).toBeGreaterThanOrEqual(32)
    expect(most).toBeLessThanOrEqual(64 + 1)
    const done = progress.map(({ doneBytes }) => doneBytes)
    expect(done.toSorted((a, b) => a - b)).toEqual(done)
    expect(new Set(progress.map(({ phase }) => phase))).toEqual(
      new Set(['plan', 'snapshot', 'wal', 'check']),
    )
    expect(done.at(-1)).toBe(progress.at(-1)?.totalBytes)
  })

  it.each(['snapshot', 'wal', 'check'] as const)(
    'leaves nothing when it is aborted in phase %s',
    async (phase) => {
      const aborter = new AbortController()
      const restored = restore(history, {
        onProgress: (progress) => {
          if (progress.phase === phase) aborter.abort()
        },
        signal: aborter.signal,
      })
      await expect(restored).rejects.toMatchObject({ name: 'AbortError' })
      expect(await readdir(join(folder, 'out'))).toEqual([])
    },
  )

  it('plans again when a segment has vanished, and gives up when one stays away', async () => {
    const paths = [...history.client.objects.keys()].filter((path) => path.includes('/wal/'))
    const path = paths[300] ?? ''
    const object = history.client.objects.get(path)
    let reads = 0
    history.client.beforeOperation = (operation, read) => {
      if (operation !== 'read' || read !== path || object === undefined) return
      reads += 1
      if (reads === 1) history.client.objects.delete(path)
      else history.client.objects.set(path, object)
    }
    try {
      // What was listed the second time lacks the segment: a hole, which the next one does not continue.
      await expect(restore(history)).rejects.toMatchObject({
        code: 'CORRUPTION',
        message: expect.stringContaining('a segment is missing') as unknown,
      })
    } finally {
      history.client.beforeOperation = undefined
      if (object !== undefined) history.client.objects.set(path, object)
    }
    expect(await readdir(join(folder, 'out'))).toEqual([])
  })

  it('names the damaged segment and the commit before it', async () => {
    const paths = [...history.client.objects.keys()].filter((path) => path.includes('/wal/'))
    const path = paths[400] ?? ''
    const object = history.client.objects.get(path)
    if (object === undefined) throw new Error('there is no such segment')
    const bytes = object.bytes.slice()
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 4
    history.client.objects.set(path, { ...object, bytes })
    const offset = path.slice(-'00000000.wal.lz4'.length, -'.wal.lz4'.length)
    const position = Number.parseInt(offset, 16)
    try {
      await expect(restore(history)).rejects.toMatchObject({
        code: 'CORRUPTION',
        message: expect.stringMatching(
          new RegExp(`${path}: .*the last verified commit ends at \\S+:${position}$`),
        ) as unknown,
      })
    } finally {
      history.client.objects.set(path, object)
    }
  })
})

describe('the final check', () => {
  it('is left to the application where the schema calls its functions', async () => {
    const stored = await storeHistory({
      commits: 3,
      commit: (database, n) => {
        database.function('twice', { deterministic: true }, (value) => Number(value) * 2)
        if (n === 0) database.exec('create table t (x); create index twice_x on t (twice(x))')
        else database.prepare('insert into t values (?)').run(n)
      },
    })
    const report = await restore(stored)
    expect(report.notes).toEqual([expect.stringContaining('twice()')])
    expect((await readFile(join(folder, 'out/db'))).equals(stored.database)).toBe(true)
    await rm(join(folder, 'out/db'))
  })

  it('refuses a database that was damaged before it was stored', async () => {
    const stored = await storeHistory({
      commits: 3,
      commit: (database, n) => {
        if (n === 0) database.exec('create table t (x); create index t_x on t (x)')
        else database.prepare('insert into t values (?)').run(n)
        if (n !== 3) return
        database.unsafeMode(true)
        database.pragma('writable_schema = on')
        database.exec("update sqlite_schema set rootpage = 2 where name = 't_x'")
      },
    })
    await expect(restore(stored)).rejects.toMatchObject({
      code: 'CORRUPTION',
      message: expect.stringContaining('integrity_check') as unknown,
    })
    expect(await readdir(join(folder, 'out'))).toEqual([])
    await restore(stored, { request: { integrityCheck: 'none' } })
    await rm(join(folder, 'out/db'))
  })
})

describe('an output that cannot be written', () => {
  it('is said, with exit code 1 and nothing left, when it is in the middle', async () => {
    const replica = join(folder, 'replica')
    for (const [path, { bytes }] of history.client.objects) {
      await mkdir(dirname(join(replica, path)), { recursive: true })
      await writeFile(join(replica, path), bytes)
    }
    const output = join(folder, 'full', 'db')
    const args = [program, 'restore', '-o', output, `file://${replica}`]
    // A limit to the size of files stands for a full disk.
    const limited = ['-c', 'ulimit -f 64; exec "$0" "$@"', process.execPath, ...args]
    const { status, stderr } = spawnSync('bash', limited, { encoding: 'utf8' })
    expect(stderr).toContain(`tsreplicate: cannot write ${output}: EFBIG`)
    expect(status).toBe(1)
    expect(await readdir(dirname(output))).toEqual([])
  })

  it.skipIf(process.platform !== 'linux')(
    'is said when its folder cannot be created, whatever the file system',
    async () => {
      const outputPath = '/proc/tsreplicate/deep/db'
      await expect(restore(history, { request: { outputPath } })).rejects.toMatchObject({
        code: 'OUTPUT',
      })
    },
  )

  it('is said when its folder is none', async () => {
    await writeFile(join(folder, 'file'), '')
    await expect(
      restore(history, { request: { outputPath: join(folder, 'file/db') } }),
    ).rejects.toMatchObject({ code: 'OUTPUT' })
  })
})
