// An application that replicates its database by the library and reads the same commit all the time, in one transaction.
// Options are one JSON argument. Prints what it sees as JSON whenever a line comes in; ends when its input does.
import process from 'node:process'
import { createInterface } from 'node:readline'
import { library } from './library.mjs'

const { db: path, driver, replicateTo } = JSON.parse(process.argv[2] ?? '{}')
let db
if (driver === 'node:sqlite') {
  const { DatabaseSync } = await import('node:sqlite')
  db = new DatabaseSync(path)
} else {
  const { default: Database } = await import('better-sqlite3')
  db = new Database(path)
}
const look = () => db.prepare('select count(*) as rows, max(hash) as hash from ledger').get()
db.exec('begin')
const first = JSON.stringify(look())
await using replication = await library.replicate(await library.configFromUrls(path, [replicateTo]))
process.stdout.write(`holding beside ${replication.pid}\n`)
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${line}: ${JSON.stringify(look()) === first ? 'same' : 'changed'}\n`)
}
