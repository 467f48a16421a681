/**
 * `npm run quickstart`: a backup and two restores in half a minute, with nothing left running. Everything happens in a
 * temporary folder: a writer appends rows to a database, the program replicates it, and it is restored twice.
 */
import assert from 'node:assert'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const projectFolder = join(import.meta.dirname, '..')
const program = join(projectFolder, 'bin/tsreplicate.js')

/** An application, as a program of its own: ten commits a second until SIGTERM. */
const writerScript = `
  const Database = require('better-sqlite3')
  const db = new Database(process.argv[1])
  db.pragma('journal_mode = WAL')
  db.exec('create table if not exists note(id integer primary key, text text, at text)')
  const insert = db.prepare('insert into note(text, at) values (?, ?)')
  setInterval(() => insert.run('hello', new Date().toISOString()), 100)
  process.on('SIGTERM', () => process.exit(0))
`

const counterScript = `
  const Database = require('better-sqlite3')
  const db = new Database(process.argv[1], { fileMustExist: true })
  console.log(JSON.stringify(db.prepare('select count(*) as rows, max(at) as newest from note').get()))
`

const execute = promisify(execFile)

async function countRows(path: string): Promise<{ rows: number; newest: string | null }> {
  const { stdout } = await execute(process.execPath, ['-e', counterScript, path], {
    cwd: projectFolder,
  })
  const result: unknown = JSON.parse(stdout)
  assert(typeof result === 'object' && result !== null && 'rows' in result && 'newest' in result)
  const { rows, newest } = result
  assert(typeof rows === 'number' && (typeof newest === 'string' || newest === null))
  return { rows, newest }
}

/** Restores and returns the time of the commit that came back. */
async function restore(replica: string, output: string, timestamp?: string): Promise<string> {
  const { stdout } = await execute(process.execPath, [
    program,
    'restore',
    '-o',
    output,
    ...(timestamp === undefined ? [] : ['-timestamp', timestamp]),
    '--json',
    `file://${replica}`,
  ])
  const report: unknown = JSON.parse(stdout)
  assert(typeof report === 'object' && report !== null && 'commitTimeMs' in report)
  return typeof report.commitTimeMs === 'number'
    ? new Date(report.commitTimeMs).toISOString()
    : 'unknown'
}

function say(text = ''): void {
  process.stdout.write(`${text}\n`)
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const killer = setTimeout(() => child.kill('SIGKILL'), 10_000)
  await ended
  clearTimeout(killer)
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tsreplicate-quickstart-'))
  const database = join(folder, 'app.db')
  const replica = join(folder, 'replica')
  const children: ChildProcess[] = []
  let moment: string
  const stopAll = async (): Promise<void> => {
    for (const child of children.splice(0).reverse()) await stop(child)
  }
  process.once('SIGINT', () => {
    void stopAll().then(() => process.exit(130))
  })
  try {
    say(`1. An application writes ten commits a second to ${database}`)
    const writer = spawn(process.execPath, ['-e', writerScript, database], {
      cwd: projectFolder,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    children.push(writer)

    say(`2. tsreplicate streams it to ${replica}`)
    const daemon = spawn(process.execPath, [program, 'replicate', database, `file://${replica}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    children.push(daemon)
    let log = ''
    daemon.stdout.setEncoding('utf8').on('data', (text: string) => (log += text))
    daemon.stderr.setEncoding('utf8').on('data', (text: string) => (log += text))

    const goOn = async (ms: number): Promise<void> => {
      await sleep(ms)
      if (daemon.exitCode !== null || writer.exitCode !== null)
        throw new Error(`a process ended early; the log of tsreplicate:\n${log}`)
    }
    while (!log.includes('snapshot written')) await goOn(100)
    await goOn(2000)
    moment = new Date().toISOString()
    await goOn(4000)

    say()
    say('3. Restored while both go on:')
    const targets = [
      { name: 'now', output: join(folder, 'now.db'), timestamp: undefined },
      { name: moment, output: join(folder, 'earlier.db'), timestamp: moment },
    ]
    for (const { name, output, timestamp } of targets) {
      const commitTime = await restore(replica, output, timestamp)
      const { rows, newest } = await countRows(output)
      say(
        `   as of ${name.padEnd(24)}  ${String(rows).padStart(4)} rows, the newest of ${newest ?? 'never'} (captured at ${commitTime})`,
      )
    }
    const live = await countRows(database)
    say(`   the live database             ${String(live.rows).padStart(4)} rows`)
    await stopAll()
  } finally {
    await stopAll()
  }
  say()
  say('Both processes are stopped; the folder stays. By hand:')
  // The Node.js that npm has installed here may be newer than that of the machine.
  const own = relative(process.cwd(), process.execPath)
  const command = `${own.startsWith('node_modules') ? own : 'node'} bin/tsreplicate.js`
  say(`   ${command} replicate ${database} file://${replica}`)
  say(`   ${command} generations file://${replica}`)
  say(`   ${command} restore -o /tmp/restored.db file://${replica}`)
  say(`   ${command} restore -o /tmp/earlier.db -timestamp ${moment} file://${replica}`)
  say(`   rm -r ${folder}`)
}

await main()
