import Database from 'better-sqlite3'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  litestream,
  type Outcome,
  program,
  run,
  Running,
  temporaryFolder,
} from '../support/cli.ts'

afterEach(() => cleanUp())

interface Scene {
  readonly folder: string
  readonly db: string
  readonly replica: string
  readonly config: string
}

function scene(logging: object | undefined): Scene {
  const folder = temporaryFolder()
  const db = join(folder, 'a b.db')
  const replica = join(folder, 'replica')
  const config = join(folder, 'c.yml')
  const database = new Database(db)
  database.pragma('journal_mode = wal')
  database.exec('create table t (x)')
  database.close()
  const dbs = [{ path: db, replicas: [{ path: replica }] }]
  writeFileSync(config, JSON.stringify(logging === undefined ? { dbs } : { logging, dbs }))
  return { folder, db, replica, config }
}

/** Runs a replicator until its child `true` has ended. */
async function replicate(command: readonly string[], ...args: string[]): Promise<Outcome> {
  const [name = '', ...first] = command
  const running = new Running('replicator', name, [...first, 'replicate', '-exec', 'true', ...args])
  const code = await running.exit()
  return { code, stdout: running.stdout, stderr: running.stderr }
}

const ours = [process.execPath, program]
const theirs = [litestream]
const both = [
  ['tsreplicate', ours],
  ['Litestream', theirs],
] as const

describe.each(both)('logging of %s', (_, command) => {
  test('is text on stdout, with quotes where they are needed', async () => {
    const { config, db } = scene(undefined)
    const { stdout, stderr } = await replicate(command, '-config', config)
    expect(stderr).toBe('')
    for (const line of stdout.trimEnd().split('\n')) {
      expect(line).toMatch(
        /^time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d) level=(INFO|WARN) msg=/,
      )
    }
    expect(stdout).toContain(`level=INFO msg="initialized db" path="${db}"\n`)
    expect(stdout).toMatch(/level=INFO msg="replicating to" name=file type=file sync-interval=1s/)
  })

  test('is JSON where that is wanted', async () => {
    const { config, db } = scene({ type: 'json' })
    const { stdout } = await replicate(command, '-config', config)
    const records = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    for (const record of records) {
      expect(record['level']).toMatch(/^(INFO|WARN)$/)
      expect(record['msg']).toBeTypeOf('string')
      expect(Date.parse(String(record['time']))).toBeGreaterThan(Date.now() - 60_000)
    }
    expect(records).toContainEqual(
      expect.objectContaining({ level: 'INFO', msg: 'initialized db', path: db }),
    )
  })

  test('goes to stderr where that is wanted, or without a configuration', async () => {
    const { config, db, replica } = scene({ stderr: true })
    const wanted = await replicate(command, '-config', config)
    expect(wanted.stdout).toBe('')
    expect(wanted.stderr).toContain('initialized db')
    const byUrl = await replicate(command, db, `file://${replica}`)
    expect(byUrl.stdout).toBe('')
    expect(byUrl.stderr).toContain('initialized db')
  })

  test('has levels, in any case', async () => {
    const silent = scene({ level: 'ERROR' })
    expect(await replicate(command, '-config', silent.config)).toMatchObject({
      stdout: '',
      stderr: '',
    })
    const loud = scene({ level: 'Debug' })
    expect((await replicate(command, '-config', loud.config)).stdout).toContain('level=INFO')
  })
})

describe('logging', () => {
  test.each([{ type: 'xml' }, { level: 'loud' }])('refuses %j', async (logging) => {
    const { config } = scene(logging)
    const outcome = await replicate(ours, '-config', config)
    expect(outcome.code).toBe(78)
    expect(outcome.stderr).toMatch(/logging\.(type|level): must be /)
  })

  test('of a command is on stderr, wherever that of the daemon is, and of the same type', async () => {
    const { config, db } = scene({ type: 'json', stderr: false })
    await replicate(ours, '-config', config)
    const output = join(config, '..', 'restored.db')
    const restored = await run('restore', '--json', '-config', config, '-o', output, db)
    expect(JSON.parse(restored.stdout)).toMatchObject({ outputPath: output })
    const skipped = await run('restore', '-if-db-not-exists', '-config', config, '-o', output, db)
    expect(skipped.stdout).toBe('')
    expect(JSON.parse(skipped.stderr)).toMatchObject({
      level: 'INFO',
      msg: 'database already exists, skipping',
    })
    const none = { path: join(config, '..', 'none.db'), replicas: [{ path: '/none' }] }
    writeFileSync(config, JSON.stringify({ logging: { type: 'json' }, dbs: [none] }))
    const absent = await run('restore', '-if-replica-exists', '-config', config, none.path)
    expect(absent.code).toBe(0)
    expect(JSON.parse(absent.stderr)).toMatchObject({ msg: 'no matching backups found' })
  })
})

describe('what an error says of its remedy', () => {
  /** A store that refuses whatever it is asked for. */
  async function refusingStore() {
    const server = createServer((_, response) => {
      response.writeHead(403, { 'content-type': 'application/xml' })
      response.end('<Error><Code>AccessDenied</Code><Message>no</Message></Error>')
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const folder = temporaryFolder()
    const config = join(folder, 'c.yml')
    const store = { type: 's3', bucket: 'b', path: 'p', endpoint: `http://127.0.0.1:${port}` }
    const keys = { 'access-key-id': 'a', 'secret-access-key': 's' }
    const db = join(folder, 'a.db')
    writeFileSync(
      config,
      JSON.stringify({ dbs: [{ path: db, replicas: [{ ...store, ...keys }] }] }),
    )
    return { server, config, db }
  }

  test('is in the log wherever the error is', async () => {
    const { server, config, db } = await refusingStore()
    try {
      const hint = /err="cannot [^\n]*AccessDenied[^\n]* hint="allow /
      for (const command of ['generations', 'retention']) {
        const { stderr } = await run(command, '-config', config, db)
        expect(stderr, command).toMatch(hint)
      }
    } finally {
      server.close()
    }
  })
})

test('a name that a terminal would obey is shown, and not obeyed', async () => {
  const folder = temporaryFolder()
  const db = join(folder, 'a\u001b[2J\u009b2J\u202ebd.\nlevel=ERROR')
  new Database(db).exec('create table t (x)').close()
  const url = `file://${join(folder, 'replica')}`
  const shown = 'a\\u001b[2J\\u009b2J\\u202ebd.'
  const logged = await run('replicate', '-exec', 'true', db, url)
  const config = join(folder, 'c.yml')
  writeFileSync(config, JSON.stringify({ dbs: [{ path: db, replicas: [{ url }] }] }))
  const listed = await run('databases', '-config', config)
  const failed = await run('restore', '-config', config, `${db}\u001b[2J`)
  for (const { stdout, stderr } of [logged, listed, failed]) {
    expect(stdout + stderr).toContain(shown)
    for (const obeyed of ['\u001b', '\u009b', '\u202e']) {
      expect(stdout + stderr).not.toContain(obeyed)
    }
  }
  expect(listed.stdout.split('\n')).toHaveLength(3)
  expect(failed.code).not.toBe(0)
})
