/** Notes over HTTP: a note is answered with 201 once it is stored outside of this machine. */
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import Database from 'better-sqlite3'
import express, { type ErrorRequestHandler } from 'express'
import { loadConfig, NotStoredError, replicate } from 'tsreplicate'

mkdirSync('data', { recursive: true })
// Before the database is opened: if there is none, and a backup, it is restored.
const replication = await replicate(await loadConfig({ path: 'tsreplicate.yml' }))

const db = new Database('data/app.db')
db.pragma('journal_mode = WAL')
db.exec('CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)')
const insert = db.prepare<[string]>('INSERT INTO note (text) VALUES (?)')
const select = db.prepare('SELECT id, text FROM note ORDER BY id')

const app = express()
app.use(express.json())

app.get('/notes', (_request, response) => {
  response.json(select.all())
})

app.post('/notes', async (request, response) => {
  const { text } = request.body as { text: string }
  const { lastInsertRowid } = await replication.durable(() => insert.run(text), { urgency: 'now' })
  response.status(201).json({ id: Number(lastInsertRowid) })
})

const health = replication.handler()
app.use('/internal', async (request, response) => {
  const { method, url, headers } = request
  const { accept = '*/*' } = headers
  const answer = await health(
    new Request(new URL(url, 'http://localhost'), { method, headers: { accept } }),
  )
  response.status(answer.status).type(answer.headers.get('content-type') ?? 'text/plain')
  response.send(await answer.text())
})

/** What is not stored in time is committed all the same: whoever asks again asks for a second note. */
const onError: ErrorRequestHandler = (error, _request, response, next) => {
  if (error instanceof NotStoredError) response.status(503).json({ error: error.message })
  else next(error)
}
app.use(onError)

const server = app.listen(Number(process.env['PORT'] ?? 3000))

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
