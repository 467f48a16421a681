// A program for `exec`: writes rows to the database that it is told about, and does what its arguments say, in order.
import Database from 'better-sqlite3'
import { readdirSync, writeFileSync } from 'node:fs'
import process from 'node:process'
import { clearInterval, setInterval } from 'node:timers'

const [, , ...steps] = process.argv
const path = process.env['TSREPLICATE_DB_PATH'] ?? process.env['DB']
const say = (text) => process.stdout.write(`child: ${text}\n`)
let db

function write(name) {
  db ??= new Database(path)
  db.pragma('journal_mode = wal')
  db.exec('create table if not exists log (name text)')
  db.prepare('insert into log values (?)').run(name)
}

/** Waits for one of these signals; says and writes it. */
function waitFor(signals) {
  const alive = setInterval(() => undefined, 1000)
  return new Promise((resolve) => {
    for (const signal of signals) {
      process.once(signal, () => {
        say(`got ${signal}`)
        write(signal)
        clearInterval(alive)
        resolve(undefined)
      })
    }
    say(`waits for ${signals.join(',')}`)
  })
}

for (const step of steps) {
  const [verb, value = ''] = step.split('=')
  if (verb === 'write') write(value)
  if (verb === 'say') say(value)
  if (verb === 'list') {
    const names = readdirSync(value, { recursive: true, encoding: 'utf8' })
    say(`objects ${names.filter((name) => name.endsWith('.lz4')).length}`)
  }
  if (verb === 'rows') {
    db ??= new Database(path)
    say(`rows ${db.prepare('select count(*) as n from log').get().n}`)
  }
  if (verb === 'touch') writeFileSync(value, '')
  if (verb === 'wait') await waitFor(value.split(','))
  if (verb === 'ignore') process.on(value, () => say(`ignores ${value}`))
  if (verb === 'exit') process.exit(Number(value))
  if (verb === 'kill') process.kill(process.pid, value)
}
