/**
 * What a reader has on the PATH, for the shell blocks of the documents: `reader-shim.mjs FOLDER NAME ARGUMENT...`, where
 * FOLDER is the machine's. A daemon is started in the background, and the prompt is back when all is stored once.
 */
import Database from 'better-sqlite3'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'

const limitMs = 120_000
const program = join(
  process.env.TSREPLICATE_TEST_PACKAGE ?? join(import.meta.dirname, '../..'),
  'bin/tsreplicate.js',
)
const [folder, name, ...args] = process.argv.slice(2)
const pidsFile = join(folder, 'pids')
const logFile = join(folder, 'log')
/** When all was stored for the first time: the moment that the documents restore to. */
const momentFile = join(folder, 'moment')

const tsreplicate = (words, stdio = 'inherit') =>
  spawnSync(process.execPath, [program, ...words], { stdio }).status ?? -1

const pids = () =>
  existsSync(pidsFile) ? readFileSync(pidsFile, 'utf8').split('\n').filter(Boolean).map(Number) : []

const isAlive = (pid) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function until(condition, what) {
  const deadline = Date.now() + limitMs
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited ${limitMs} ms for ${what}`)
    await sleep(200)
  }
}

/** As a second terminal, or the service manager, would. */
async function startDaemon(words) {
  const from = existsSync(logFile) ? readFileSync(logFile, 'utf8').length : 0
  const log = openSync(logFile, 'a')
  const daemon = spawn(process.execPath, [program, ...words], {
    detached: true,
    stdio: ['ignore', log, log],
  })
  daemon.unref()
  appendFileSync(pidsFile, `${daemon.pid}\n`)
  const subject = words
    .slice(1)
    .filter((word, i, all) => /^-config$/.test(word) || all[i - 1] === '-config')
  const positional = words
    .slice(1)
    .find((word, i, all) => !word.startsWith('-') && all[i - 1] !== '-config')
  const asked = positional === undefined ? subject : [positional]
  await until(
    () => daemon.exitCode !== null || tsreplicate(['status', ...asked], 'ignore') === 0,
    `a daemon that is ready:\n${readFileSync(logFile, 'utf8')}`,
  )
  if (!existsSync(momentFile)) writeFileSync(momentFile, new Date().toISOString())
  process.stdout.write(readFileSync(logFile, 'utf8').slice(from))
  return daemon.exitCode ?? 0
}

async function stopDaemons() {
  for (const pid of pids()) if (isAlive(pid)) process.kill(pid, 'SIGTERM')
  await until(() => !pids().some(isAlive), 'the end of the daemon')
  writeFileSync(pidsFile, '')
}

/** The unit of the project reads /etc/tsreplicate.yml; all others do nothing. */
async function systemctl([verb, ...rest]) {
  if (verb === 'daemon-reload' || !rest.some((unit) => /^tsreplicate(\.service)?$/.test(unit)))
    return 0
  // Whoever comes to the service has pressed Ctrl-C where a daemon ran before.
  const start = async () => {
    await stopDaemons()
    return startDaemon(['replicate'])
  }
  switch (verb) {
    case 'enable':
      return rest.includes('--now') ? start() : 0
    case 'start':
      return start()
    case 'restart':
      return start()
    case 'stop':
      await stopDaemons()
      return 0
    case 'reload': {
      const count = () => readFileSync(logFile, 'utf8').split('configuration reloaded').length
      const before = count()
      for (const pid of pids()) process.kill(pid, 'SIGHUP')
      await until(() => count() > before, 'the reload')
      return 0
    }
    default:
      throw new Error(`systemctl ${verb} is not known here`)
  }
}

function sqlite3([path, sql]) {
  const db = new Database(path)
  db.pragma('busy_timeout = 5000')
  for (const statement of sql.split(';').filter((text) => text.trim() !== '')) {
    const prepared = db.prepare(statement)
    if (!prepared.reader) prepared.run()
    else for (const row of prepared.raw().all()) process.stdout.write(`${row.join('|')}\n`)
  }
  db.close()
  return 0
}

async function curl(words) {
  const url = words.find((word) => word.startsWith('http'))
  const response = await new Promise((resolve, reject) => get(url, resolve).on('error', reject))
  response.pipe(process.stdout)
  await once(response, 'end')
  return words.some((word) => /^-[a-zA-Z]*f/.test(word)) && response.statusCode !== 200 ? 22 : 0
}

const commands = {
  tsreplicate: (words) => {
    const isDaemon =
      words[0] === 'replicate' && !words.some((word) => /^--?(exec|h|help)\b/.test(word))
    return isDaemon ? startDaemon(words) : tsreplicate(words)
  },
  systemctl,
  journalctl: () => process.stdout.write(readFileSync(logFile, 'utf8')) && 0,
  sqlite3,
  curl,
  // There is one user.
  chown: (words) => (existsSync(words.at(-1)) ? 0 : 1),
}

process.exitCode = await commands[name](args)
