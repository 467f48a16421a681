import { mkdirSync } from 'node:fs'
import Database from 'better-sqlite3'
import { loadConfig, replicate, type RunningReplication } from 'tsreplicate'

interface Store {
  readonly db: Database.Database
  readonly replication: RunningReplication
}

/** Vite evaluates this module again at each reload while it is developed: the process has one store all the same. */
const shared = globalThis as { notesStore?: Promise<Store> }

export function openStore(): Promise<Store> {
  shared.notesStore ??= open()
  return shared.notesStore
}

async function open(): Promise<Store> {
  mkdirSync('data', { recursive: true })
  // Before the database is opened: if there is none, and a backup, it is restored.
  const replication = await replicate(await loadConfig({ path: 'tsreplicate.yml' }))
  const db = new Database('data/app.db')
  db.pragma('journal_mode = WAL')
  db.exec('CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)')
  return { db, replication }
}
