/**
 * Takes payments. One is acknowledged with 201 only when it is stored in the bucket, so that it survives the loss of this
 * machine with its disk. Whoever pays names the payment: one that is sent again, because no answer came, is taken once.
 */
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import { json } from 'node:stream/consumers'
import Database from 'better-sqlite3'
import { loadConfig, NotStoredError, replicate } from 'tsreplicate'

mkdirSync('data', { recursive: true })
// Before the database is opened: on a new machine it is restored.
const replication = await replicate(await loadConfig({ path: 'tsreplicate.yml' }))

const db = new Database('data/app.db')
db.pragma('journal_mode = WAL')
db.exec('CREATE TABLE IF NOT EXISTS payment (id TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT')
const insert = db.prepare<[string, number]>('INSERT OR IGNORE INTO payment VALUES (?, ?)')

interface Payment {
  readonly id: string
  readonly cents: number
}

async function take(request: IncomingMessage): Promise<number> {
  if (request.method !== 'POST' || request.url !== '/payments') return 404
  const { id, cents } = (await json(request)) as Payment
  try {
    // Also of one that was there: it may not be stored yet.
    await replication.durable(() => insert.run(id, cents), { urgency: 'now', timeoutMs: 10_000 })
    return 201
  } catch (error) {
    // It may be stored later, or never: whoever pays has to send it again.
    if (error instanceof NotStoredError) return 503
    throw error
  }
}

const server = createServer((request, response) => {
  take(request)
    .catch((error: unknown) => {
      console.error(error)
      return 500
    })
    .then((status) => response.writeHead(status).end())
})
server.listen(Number(process.env['PORT'] ?? 3000))

async function stop(): Promise<void> {
  server.close()
  await once(server, 'close')
  db.close()
  const notStored = await replication.stop()
  process.exitCode = notStored.length === 0 ? 0 : 1
}
process.once('SIGTERM', () => {
  stop().catch((error: unknown) => {
    console.error(error)
    process.exitCode = 1
  })
})
