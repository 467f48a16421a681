// An application that replicates by the library and waits once, for 60 s: how that ended, and after how long, is a line of JSON.
import process from 'node:process'
import { performance } from 'node:perf_hooks'
import { library } from './library.mjs'

const [db, url] = process.argv.slice(2)
const nothing = () => undefined
const logger = { debug: nothing, info: nothing, warn: nothing, error: nothing }
const replication = await library.replicate(db, url, { logger })
const startedAt = performance.now()
try {
  await replication.stored({ urgency: 'now', timeoutMs: 60_000 })
  process.stdout.write(`${JSON.stringify({ code: 'STORED' })}\n`)
} catch ({ code, message, cause }) {
  const elapsedMs = performance.now() - startedAt
  process.stdout.write(`${JSON.stringify({ code, message, cause: cause?.code, elapsedMs })}\n`)
}
await replication.stop()
