/** Notes over HTTP: a note is answered with 201 once it is stored outside of this machine. */
import { mkdirSync } from 'node:fs'
import Database from 'better-sqlite3'
import Fastify from 'fastify'
import { loadConfig, NotStoredError, replicate } from 'tsreplicate'

mkdirSync('data', { recursive: true })
// Before the database is opened: if there is none, and a backup, it is restored.
const replication = await replicate(await loadConfig({ path: 'tsreplicate.yml' }))

const db = new Database('data/app.db')
db.pragma('journal_mode = WAL')
db.exec('CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, text TEXT NOT NULL)')
const insert = db.prepare<[string]>('INSERT INTO note (text) VALUES (?)')
const select = db.prepare('SELECT id, text FROM note ORDER BY id')

const app = Fastify({ logger: true })

app.get('/notes', () => select.all())

app.post<{ Body: { text: string } }>('/notes', async ({ body: { text } }, reply) => {
  const { lastInsertRowid } = await replication.durable(() => insert.run(text), { urgency: 'now' })
  return reply.status(201).send({ id: Number(lastInsertRowid) })
})

const health = replication.handler()
app.get('/internal/*', ({ method, url, headers: { accept = '*/*' } }) =>
  health(new Request(new URL(url, 'http://localhost'), { method, headers: { accept } })),
)

/** What is not stored in time is committed all the same: whoever asks again asks for a second note. */
app.setErrorHandler((error, _request, reply) => {
  if (!(error instanceof NotStoredError)) return reply.send(error)
  return reply.status(503).send({ error: error.message })
})

/** There are no more requests by then: no more commits, and the last ones are stored. */
app.addHook('onClose', async () => {
  db.close()
  const notStored = await replication.stop()
  process.exitCode = notStored.length === 0 ? 0 : 1
})

await app.listen({ port: Number(process.env['PORT'] ?? 3000) })
process.once('SIGTERM', () => {
  app.close().catch((error: unknown) => {
    app.log.error(error)
    process.exitCode = 1
  })
})
