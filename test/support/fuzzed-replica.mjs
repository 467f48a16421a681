/** A replica of three generations that follow each other, the same bytes each time, and what a restore of it may be. */
import { Buffer } from 'node:buffer'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { formatObjectPath } from '../../dist/domain/stored/replica-layout.js'
import { formatTrailer } from '../../dist/domain/stored/trailer.js'
import { formatGeneration } from '../../dist/domain/wal/generation.js'
import { SegmentVerifier } from '../../dist/domain/wal/segment-verifier.js'
import {
  formatWalHeader,
  frameBytes,
  parseWalHeader,
  resaltFrames,
  walHeaderBytes,
} from '../../dist/domain/wal/wal-format.js'
import { createLz4Compressor } from '../../dist/infrastructure/lz4/frame-encoder.js'

const pageSizeBytes = 512
const stepBytes = frameBytes(pageSizeBytes)
const generations = [1, 2, 3].map((byte) => formatGeneration(new Uint8Array(8).fill(byte)))
const indexesEach = 3
const commitsEach = 4

/** What a database holds, for comparing. Undefined: it is none of the application's. */
export function digestOf(path) {
  const database = new Database(path, { readonly: true })
  try {
    const hash = createHash('sha256')
    for (const row of database.prepare('select n, body from t order by n').raw().iterate()) {
      hash.update(row.join(':'))
    }
    return hash.digest('hex')
  } finally {
    database.close()
  }
}

/** Objects by path, digests of all commits in order, and the times of the first and the last. */
export async function makeReplica() {
  const compressor = await createLz4Compressor()
  const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-fuzz-'))
  const path = join(folder, 'app.db')
  const objects = new Map()
  const digests = []
  const startMs = Date.parse('2026-01-01T00:00:00Z')
  const database = new Database(path)
  let timeMs = startMs
  const frameOf = (content) => {
    const encoder = compressor.startFrame()
    const blocks = []
    for (let at = 0; at < content.length; at += 1500) {
      blocks.push(encoder.block(content.subarray(at, at + 1500)))
    }
    return Buffer.concat([encoder.header(), ...blocks, encoder.end()])
  }
  const put = (ref, content, trailer) => {
    const object = { frame: frameOf(content), trailer, content }
    objects.set(formatObjectPath(ref), object)
  }
  const commit = () => {
    const n = digests.length
    const body = createHash('sha256')
      .update(String(n))
      .digest('hex')
      .repeat((n % 7) + 1)
    database.transaction(() => {
      database.prepare('insert into t values (?, ?)').run(n, body)
      database.prepare('update t set body = ? where n = 0').run(body)
    })()
    digests.push(digestOf(path))
    timeMs += 1000
  }
  try {
    database.pragma(`page_size = ${pageSizeBytes}`)
    database.pragma('journal_mode = wal')
    database.pragma('wal_autocheckpoint = 0')
    database.exec('create table t (n integer primary key, body)')
    const follows = []
    for (const [ordinal, generation] of generations.entries()) {
      let previousIndexEnd
      commit()
      for (let index = 0; index < indexesEach; index += 1) {
        database.pragma('wal_checkpoint(truncate)')
        if (index !== 1) {
          const content = readFileSync(path)
          put({ kind: 'snapshot', generation, index }, content, {
            ...{ kind: 'snapshot', generation, index, consistentFrom: { index, offset: 0 } },
            ...{ pageSizeBytes, pageCount: content.length / pageSizeBytes, startTimeMs: timeMs },
            ...{ endTimeMs: timeMs, commitTimeMs: timeMs },
            lineage: { ordinal: ordinal + 1, epoch: 1, follows: follows.slice(-1) },
          })
        }
        const times = []
        for (let n = 0; n < commitsEach; n += 1) {
          commit()
          times.push(timeMs)
        }
        previousIndexEnd = putIndex({ generation, index, times, previousIndexEnd })
      }
      follows.push({ generation, end: { index: indexesEach - 1, offset: previousIndexEnd.offset } })
    }
    const { generation, end: position } = follows.at(-1)
    const process = {
      ...{ host: 'h', machine: 'm', boot: 'b', pidNamespace: 'n', isContained: false, pid: 1 },
      ...{ startTicks: '1', startedAtMs: 1 },
    }
    const owner = {
      ...{ version: 1, token: 't', epoch: 1, instance: 'i', process, leaseMs: null },
      ...{ claimedAt: '2026-01-01T00:00:00Z', renewedAt: '2026-01-01T00:00:00Z', released: true },
      stored: {
        ...{ generation, ordinal: 3, hasSnapshot: true, position },
        commitTime: new Date(timeMs).toISOString(),
      },
    }
    return { objects, digests, startMs, endMs: timeMs, owner: JSON.stringify(owner), generations }
  } finally {
    database.close()
    rmSync(folder, { recursive: true })
  }

  /** Each commit of the WAL as a segment, with salts that are the same each time. */
  function putIndex({ generation, index, times, previousIndexEnd }) {
    const wal = readFileSync(`${path}-wal`)
    const salts = { salt1: index + 1, salt2: Number.parseInt(generation.slice(0, 4), 16) }
    const format = { pageSizeBytes, checkpointSequence: 0, salts, bigEndian: false }
    const head = formatWalHeader(format)
    const { header } = parseWalHeader(head)
    resaltFrames(wal.subarray(walHeaderBytes), { ...format, checksum: header.checksum })
    wal.set(head)
    let offset = 0
    let last
    let commits = 0
    for (let at = walHeaderBytes; at < wal.length; at += stepBytes) {
      const databaseSizePages = wal.readUInt32BE(at + 4)
      if (databaseSizePages === 0) continue
      const endOffset = at + stepBytes
      const start = { offset, header: offset === 0 ? undefined : header }
      const verifier = new SegmentVerifier({
        ...{ ...start, wantedEndOffset: Infinity, latestEndOffset: Infinity },
      })
      const content = wal.subarray(offset, endOffset)
      verifier.push(content)
      const { checksumBefore, checksumAfter } = verifier.content
      const capture = { endOffset, timeMs: times[commits] }
      commits += 1
      last = { offset: endOffset, checksum: checksumAfter }
      put({ kind: 'wal-segment', generation, index, offset }, content, {
        ...{ kind: 'wal-segment', generation, index, startOffset: offset, endOffset },
        ...{ pageSizeBytes, bigEndian: false, databaseSizePages, salts, checksumBefore },
        ...{ checksumAfter, captures: [capture], source: undefined },
        previousIndexEnd: offset === 0 ? previousIndexEnd : undefined,
      })
      offset = endOffset
    }
    return last
  }
}

/** An object as it is stored. */
export function bytesOf({ frame, trailer }, { withTrailer }) {
  return withTrailer ? Buffer.concat([frame, formatTrailer(trailer)]) : frame
}
