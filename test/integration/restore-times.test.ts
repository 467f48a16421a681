import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { formatGeneration } from '../../src/domain/wal/generation.js'
import { formatObjectPath, type ObjectRef } from '../../src/domain/stored/replica-layout.js'
import {
  formatTrailer,
  type PreviousIndexEnd,
  type Trailer,
} from '../../src/domain/stored/trailer.js'
import { parseWalHeader, verifyFrames, walHeaderBytes } from '../../src/domain/wal/wal-format.js'
import { fileImages } from '../../src/infrastructure/image/file-image.js'
import { createLz4Compressor } from '../../src/infrastructure/lz4/frame-encoder.js'
import { FileReplicaClient } from '../../src/infrastructure/replica-clients/file/file-replica-client.js'
import { restoreDatabase } from '../../src/usecase/restore/restore-database.js'
import { type RestoreReport, type RestoreTarget } from '../../src/usecase/restore/restore-types.js'
import { imageEntries } from '../support/image-entries.ts'

const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
/** Threads run what is built. */
const clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal }),
}
const compressor = await createLz4Compressor()

let folder: string
let replica: string
/** The number of rows after each commit, by its time. */
const rows = new Map<number, number>()

async function store(ref: ObjectRef, content: Uint8Array, trailer: Trailer): Promise<void> {
  const encoder = compressor.startFrame()
  const path = join(replica, formatObjectPath(ref))
  await mkdir(dirname(path), { recursive: true })
  await writeFile(
    path,
    Buffer.concat([
      encoder.header(),
      encoder.block(content),
      encoder.end(),
      formatTrailer(trailer),
    ]),
  )
}

/** Two WALs of four segments, each of two commits: one commit every 1000 ms, from 10,000 on. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tsreplicate-times-'))
  replica = join(folder, 'replica')
  const path = join(folder, 'db')
  const database = new Database(path)
  database.pragma('journal_mode = wal')
  database.pragma('wal_autocheckpoint = 0')
  database.exec('create table t (value blob)')
  database.pragma('wal_checkpoint(truncate)')
  const snapshotBytes = await readFile(path)
  let timeMs = 9000
  let previousIndexEnd: PreviousIndexEnd | undefined
  for (const index of [0, 1]) {
    let at = 0
    let checksum = { s0: 0, s1: 0 }
    for (let segment = 0; segment < 4; segment += 1) {
      const captures = []
      for (let commit = 0; commit < 2; commit += 1) {
        timeMs += 1000
        database.exec("insert into t select randomblob(3000) from json_each('[1,2,3]')")
        rows.set(timeMs, database.prepare('select count(*) from t').pluck().get() as number)
        captures.push({ endOffset: (await readFile(`${path}-wal`)).length, timeMs })
      }
      const wal = await readFile(`${path}-wal`)
      const parsed = parseWalHeader(wal)
      if (!parsed.ok) throw new Error(parsed.problem)
      const { header } = parsed
      if (at === 0) checksum = header.checksum
      const verified = verifyFrames(wal.subarray(at === 0 ? walHeaderBytes : at), {
        ...header,
        checksum,
      })
      await store({ kind: 'wal-segment', generation, index, offset: at }, wal.subarray(at), {
        kind: 'wal-segment',
        generation,
        index,
        startOffset: at,
        endOffset: wal.length,
        pageSizeBytes: 4096,
        bigEndian: header.bigEndian,
        databaseSizePages: verified.databaseSizePages,
        salts: header.salts,
        checksumBefore: checksum,
        checksumAfter: verified.checksum,
        captures,
        previousIndexEnd: at === 0 ? previousIndexEnd : undefined,
        source: undefined,
      })
      at = wal.length
      checksum = verified.checksum
      if (index === 0 && segment === 1) {
        // A snapshot may be used from a later position on than it begins to be replayed.
        await store({ kind: 'snapshot', generation, index: 0 }, snapshotBytes, {
          kind: 'snapshot',
          generation,
          index: 0,
          consistentFrom: { index, offset: captures[0]!.endOffset },
          pageSizeBytes: 4096,
          pageCount: 2,
          startTimeMs: 9000,
          endTimeMs: 9500,
          commitTimeMs: captures[0]!.timeMs,
          lineage: undefined,
        })
      }
    }
    previousIndexEnd = { offset: at, checksum }
    database.pragma('wal_checkpoint(truncate)')
  }
  database.close()
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function restore(
  target: RestoreTarget,
  dryRun = false,
): Promise<RestoreReport & { rows: number }> {
  const outputPath = join(folder, 'out/db')
  await rm(dirname(outputPath), { recursive: true, force: true })
  const report = await restoreDatabase(
    {
      sources: [
        { name: 'file', client: new FileReplicaClient({ path: replica, owner: undefined }) },
      ],
      generation: undefined,
      target,
      outputPath,
      parallelism: 4,
      integrityCheck: 'full',
      dryRun,
    },
    { image: fileImages(imageEntries), clock },
    new AbortController().signal,
  )
  if (dryRun) return { ...report, rows: 0 }
  const database = new Database(outputPath)
  const count = database.prepare('select count(*) from t').pluck().get() as number
  database.close()
  return { ...report, rows: count }
}

describe('restoring by the times in trailers', () => {
  it('ends at the last commit at or before every moment', async () => {
    for (const [timeMs, expected] of rows) {
      if (timeMs < 12_000) continue
      for (const late of [0, 999]) {
        const report = await restore({ kind: 'timestamp', timeMs: timeMs + late })
        expect(report).toMatchObject({
          rows: expected,
          commitTimeMs: timeMs,
          timeIsApproximate: false,
        })
        const planned = await restore({ kind: 'timestamp', timeMs: timeMs + late }, true)
        expect(planned.position).toEqual(report.position)
      }
    }
  })

  it('ends at the last commit of an index, or at the newest', async () => {
    expect((await restore({ kind: 'index', index: 0 })).rows).toBe(rows.get(17_000))
    const newest = await restore({ kind: 'latest' })
    expect(newest).toMatchObject({ rows: rows.get(25_000), commitTimeMs: 25_000, notes: [] })
    const later = await restore({ kind: 'timestamp', timeMs: 99_000 })
    expect(later.notes).toEqual([expect.stringContaining('nothing is stored after')])
  })

  it('refuses a moment at which the snapshot is no commit yet', async () => {
    await expect(restore({ kind: 'timestamp', timeMs: 11_999 })).rejects.toMatchObject({
      code: 'NO_BACKUP',
      message: expect.stringContaining('1970-01-01T00:00:12.000Z') as unknown,
    })
  })

  it('notices any lost segment but the newest, the last of an index too, and exchanged ones', async () => {
    const wal = join(replica, 'generations', generation, 'wal')
    const names = (await readdir(wal)).sort()
    expect(names).toHaveLength(8)
    const contents = await Promise.all(names.map((name) => readFile(join(wal, name))))
    for (const [i, name] of names.entries()) {
      if (i === names.length - 1) continue
      await rm(join(wal, name))
      await expect(restore({ kind: 'latest' }), name).rejects.toMatchObject({ code: 'CORRUPTION' })
      expect(await readdir(join(folder, 'out')).catch(() => [])).toEqual([])
      await writeFile(join(wal, name), contents[i + 1] ?? '')
      await expect(restore({ kind: 'latest' }), name).rejects.toMatchObject({ code: 'CORRUPTION' })
      await writeFile(join(wal, name), contents[i] ?? '')
    }
    expect((await restore({ kind: 'latest' })).rows).toBe(rows.get(25_000))
  })

  it('needs no trailer that it can read', async () => {
    const wal = join(replica, 'generations', generation, 'wal')
    const name = (await readdir(wal)).sort()[5] ?? ''
    const content = await readFile(join(wal, name))
    const damaged = Buffer.from(content)
    damaged[damaged.length - 30] = (damaged[damaged.length - 30] ?? 0) ^ 1
    await writeFile(join(wal, name), damaged)
    const report = await restore({ kind: 'latest' })
    expect(report.rows).toBe(rows.get(25_000))
    expect(report.notes).toEqual([expect.stringContaining('unreadable trailer')])
    await writeFile(join(wal, name), content)
  })
})
