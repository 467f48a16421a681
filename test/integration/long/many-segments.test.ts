/** A replica of very many segments in one index, as one that was never allowed to snapshot: 60,000 of a frame each. */
import Database from 'better-sqlite3'
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterAll, expect, test } from 'vitest'
import { formatObjectPath, type ObjectRef } from '../../../src/domain/stored/replica-layout.js'
import { formatTrailer, type Trailer } from '../../../src/domain/stored/trailer.js'
import { formatGeneration } from '../../../src/domain/wal/generation.js'
import {
  formatWalHeader,
  frameBytes,
  frameHeaderBytes,
  parseWalHeader,
  resaltFrames,
  walHeaderBytes,
} from '../../../src/domain/wal/wal-format.js'
import { createLz4Compressor } from '../../../src/infrastructure/lz4/frame-encoder.js'
import { cleanUp, root, temporaryFolder } from '../../support/cli.ts'

afterAll(() => cleanUp())

const count = 60_000
const pageSizeBytes = 512
const stepBytes = frameBytes(pageSizeBytes)
const generation = formatGeneration(new Uint8Array(8).fill(0x22))
const salts = { salt1: 0xfedc_ba98, salt2: 0xffff_fff1 }

/** Commits of a database of two pages, each of which writes the first one anew. */
async function storeSegments(replica: string, database: Uint8Array): Promise<void> {
  const compressor = await createLz4Compressor()
  const made = new Set<string>()
  const put = (ref: ObjectRef, content: Uint8Array, trailer: Trailer): void => {
    const path = join(replica, formatObjectPath(ref))
    const folder = dirname(path)
    if (!made.has(folder)) mkdirSync(folder, { recursive: true })
    made.add(folder)
    const encoder = compressor.startFrame()
    const body = [encoder.header(), encoder.block(content), encoder.end()]
    writeFileSync(path, Buffer.concat([...body, formatTrailer(trailer)]))
  }
  const pageCount = database.length / pageSizeBytes
  put({ kind: 'snapshot', generation, index: 0 }, database, {
    ...{ kind: 'snapshot', generation, index: 0, consistentFrom: { index: 0, offset: 0 } },
    ...{ pageSizeBytes, pageCount, startTimeMs: 1, endTimeMs: 1, commitTimeMs: 1 },
    lineage: { ordinal: 1, epoch: 1, follows: [] },
  })
  const header = formatWalHeader({ pageSizeBytes, checkpointSequence: 0, salts, bigEndian: false })
  const parsed = parseWalHeader(header)
  if (!parsed.ok) throw new Error(parsed.problem)
  let { checksum } = parsed.header
  for (let n = 0; n < count; n += 1) {
    const frame = new Uint8Array(stepBytes)
    const data = new DataView(frame.buffer)
    data.setUint32(0, 1)
    data.setUint32(4, pageCount)
    frame.set(database.subarray(0, pageSizeBytes), frameHeaderBytes)
    const checksumBefore = checksum
    checksum = resaltFrames(frame, { pageSizeBytes, bigEndian: false, salts, checksum })
    const startOffset = n === 0 ? 0 : walHeaderBytes + n * stepBytes
    const endOffset = walHeaderBytes + (n + 1) * stepBytes
    const captures = [{ endOffset, timeMs: 1_700_000_000_000 + n }]
    put(
      { kind: 'wal-segment', generation, index: 0, offset: startOffset },
      n === 0 ? Buffer.concat([header, frame]) : frame,
      {
        ...{ kind: 'wal-segment', generation, index: 0, startOffset, endOffset, pageSizeBytes },
        ...{ bigEndian: false, databaseSizePages: pageCount, salts, checksumBefore },
        ...{ checksumAfter: checksum, captures, previousIndexEnd: undefined, source: undefined },
      },
    )
  }
}

test('60,000 segments are verified in little memory', async () => {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const application = new Database(db)
  application.pragma(`page_size = ${pageSizeBytes}`)
  application.exec('create table t (a)')
  application.close()
  const replica = join(folder, 'replica')
  await storeSegments(replica, readFileSync(db))
  for (const level of ['structure', 'full']) {
    const command = JSON.stringify(['verify', '-level', level, `file://${replica}`])
    const child = spawn(process.execPath, [join(root, 'test/support/measured.mjs'), command], {
      stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
    })
    const [said, answer] = await Promise.all([
      text(child.stdout!),
      text(child.stdio[3] as Readable),
    ])
    const { codes, maxMebibytes } = JSON.parse(answer) as { codes: number[]; maxMebibytes: number }
    expect([codes, said]).toEqual([[0], expect.stringContaining('60000')])
    process.stdout.write(`verify -level ${level}: ${maxMebibytes} MiB\n`)
    expect(maxMebibytes).toBeLessThan(200)
  }
})
