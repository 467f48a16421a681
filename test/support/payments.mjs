// A service that takes payments: each is committed, waited for until it is stored, and only then acknowledged, by a line in
// a file of its own. It replicates by the library, and is killed at any moment. Options are one JSON argument.
import Database from 'better-sqlite3'
import { appendFileSync } from 'node:fs'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'

const { library, config, acknowledged, first, clients } = JSON.parse(process.argv[2])
const { loadConfig, replicate } = await import(pathToFileURL(library).href)

const loaded = await loadConfig({ path: config })
const db = new Database(loaded.databases[0].path)
db.pragma('journal_mode = WAL')
db.pragma('synchronous = FULL')
db.pragma('wal_autocheckpoint = 50')
db.exec('CREATE TABLE IF NOT EXISTS payment (id INTEGER PRIMARY KEY, note BLOB)')
const insert = db.prepare('INSERT INTO payment VALUES (?, randomblob(500))')

const replication = await replicate(loaded)
let next = first

async function pay() {
  for (;;) {
    const id = next++
    await replication.durable(() => insert.run(id), { urgency: 'now', timeoutMs: 60_000 })
    appendFileSync(acknowledged, `${id}\n`)
    await sleep(Math.random() * 20)
  }
}

await Promise.all(Array.from({ length: clients }, pay))
