/** A replica in memory with one snapshot and one segment per commit, made from a real database. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { formatGeneration } from '../../src/domain/wal/generation.ts'
import { formatObjectPath, type ObjectRef } from '../../src/domain/stored/replica-layout.ts'
import { frameBytes, parseWalHeader, walHeaderBytes } from '../../src/domain/wal/wal-format.ts'
import { createLz4Compressor } from '../../src/infrastructure/lz4/frame-encoder.ts'
import { type Compressor } from '../../src/usecase/ports/compressor.ts'
import { MemoryReplicaClient } from './memory-replica-client.ts'

const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))

export interface StoredHistory {
  readonly client: MemoryReplicaClient
  /** The database as it is at the end. */
  readonly database: Uint8Array
}

export async function storeHistory(options: {
  readonly commits: number
  /** Runs one commit, the schema first. */
  readonly commit: (database: Database.Database, n: number) => void
}): Promise<StoredHistory> {
  const compressor = await createLz4Compressor()
  const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-history-'))
  try {
    const path = join(folder, 'db')
    const database = new Database(path)
    database.pragma('journal_mode = wal')
    database.pragma('wal_autocheckpoint = 0')
    options.commit(database, 0)
    database.pragma('wal_checkpoint(truncate)')
    const snapshot = readFileSync(path)
    for (let n = 1; n <= options.commits; n += 1) options.commit(database, n)
    const wal = readFileSync(`${path}-wal`)
    database.pragma('wal_checkpoint(truncate)')
    database.close()
    const client = new MemoryReplicaClient()
    store(client, compressor, { kind: 'snapshot', generation, index: 0 }, snapshot)
    for (const { offset, bytes } of commitsOf(wal)) {
      store(client, compressor, { kind: 'wal-segment', generation, index: 0, offset }, bytes)
    }
    return { client, database: readFileSync(path) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Cuts a WAL behind each commit. */
function commitsOf(wal: Uint8Array): { offset: number; bytes: Uint8Array }[] {
  const parsed = parseWalHeader(wal)
  if (!parsed.ok) throw new Error(parsed.problem)
  const stepBytes = frameBytes(parsed.header.pageSizeBytes)
  const data = new DataView(wal.buffer, wal.byteOffset, wal.byteLength)
  const segments: { offset: number; bytes: Uint8Array }[] = []
  let offset = 0
  for (let at = walHeaderBytes; at + stepBytes <= wal.length; at += stepBytes) {
    // The size of the database that it commits; 0: it does not commit.
    if (data.getUint32(at + 4) === 0) continue
    segments.push({ offset, bytes: wal.subarray(offset, at + stepBytes) })
    offset = at + stepBytes
  }
  return segments
}

function store(
  client: MemoryReplicaClient,
  compressor: Compressor,
  ref: ObjectRef,
  content: Uint8Array,
) {
  const encoder = compressor.startFrame()
  const bytes = Buffer.concat([encoder.header(), encoder.block(content), encoder.end()])
  client.objects.set(formatObjectPath(ref), { bytes, createdAtMs: 1000 })
}
