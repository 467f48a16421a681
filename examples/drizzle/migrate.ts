/** Migrates the database once everything that is in it is stored: whatever the migration does, there is a way back. */
import { existsSync, mkdirSync } from 'node:fs'
import Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { loadConfig, replicate } from 'tsreplicate'

const path = 'data/app.db'
mkdirSync('data', { recursive: true })
// Where a process of the application replicates already, this one stands by, and asks it.
await using replication = await replicate(await loadConfig({ path: 'tsreplicate.yml' }))

if (existsSync(path)) {
  // Rejects if that is not stored in time, and then nothing is migrated.
  const { commitTimeMs } = await replication.stored({ urgency: 'now' })
  const moment = new Date(commitTimeMs).toISOString()
  console.log(`to go back: tsreplicate restore -timestamp ${moment} -o before.db ${path}`)
}

const db = new Database(path)
db.pragma('journal_mode = WAL')
migrate(drizzle(db), { migrationsFolder: 'migrations' })
// The migration is stored, too, before anybody builds on it.
await replication.stored({ urgency: 'now' })
db.close()
