// The workers of an application, which all replicate its one database by the library and write to it: a note is acknowledged once
// it is stored. What happens is a line of JSON on stdout each. SIGTERM ends it. Options are one JSON argument.
import cluster from 'node:cluster'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { library } from './library.mjs'

const { db: path, url, workers } = JSON.parse(process.argv[2])

function say(what) {
  process.stdout.write(`${JSON.stringify({ pid: process.pid, atMs: Date.now(), ...what })}\n`)
}

async function replicateAndWrite() {
  const lines = (level) => (_fields, message) => say({ event: 'log', level, message })
  const logger = Object.fromEntries(
    ['debug', 'info', 'warn', 'error'].map((level) => [level, lines(level)]),
  )
  const replication = await library.replicate(path, url, { logger })
  say({ event: 'ready', enginePid: replication.pid })
  const db = new Database(path, { timeout: 60_000 })
  const insert = db.prepare('INSERT INTO note VALUES (?)')
  let ends = false
  process.once('message', () => (ends = true))
  for (let number = 1; !ends; number += 1) {
    const note = `${process.pid}-${number}`
    try {
      await replication.durable(() => insert.run(note), { urgency: 'now' })
      say({ event: 'acknowledged', note })
    } catch ({ code, message }) {
      say({ event: 'refused', note, code, message })
    }
    await sleep(50)
  }
  db.close()
  await replication.stop()
  process.exit()
}

if (cluster.isPrimary) {
  for (let i = 0; i < workers; i += 1) cluster.fork()
  process.on('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers)) worker.send('end')
  })
} else await replicateAndWrite()
