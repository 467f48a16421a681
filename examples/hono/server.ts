/** Notes over HTTP: a note is answered with 201 once it is stored outside of this machine. */
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { serve } from '@hono/node-server'
import Database from 'better-sqlite3'
import { Hono } from 'hono'
import { loadConfig, NotStoredError, replicate } from 'tsreplicate'

mkdirSync('data', { recursive: true })
// Before the database is opened: if there is none, and a backup, it is restored.
const replication = await replicate(await loadConfig({ path: 'tsreplicate.yml' }))

const db = new Database('data/app.db')
db.pragma('journal_mode = WAL')
db.exec('CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)')
const insert = db.prepare<[string]>('INSERT INTO note (text) VALUES (?)')
const select = db.prepare('SELECT id, text FROM note ORDER BY id')

const app = new Hono()

app.get('/notes', (context) => context.json(select.all()))

app.post('/notes', async (context) => {
  const { text } = await context.req.json<{ text: string }>()
  const { lastInsertRowid } = await replication.durable(() => insert.run(text), { urgency: 'now' })
  return context.json({ id: Number(lastInsertRowid) }, 201)
})

app.mount('/internal', replication.handler())

/** What is not stored in time is committed all the same: whoever asks again asks for a second note. */
app.onError((error, context) => {
  if (!(error instanceof NotStoredError)) throw error
  return context.json({ error: error.message }, 503)
})

const server = serve({ fetch: app.fetch, port: Number(process.env['PORT'] ?? 3000) })

/** First no more requests, then no more commits, then the last ones are stored. */
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
