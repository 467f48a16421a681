/** `tsreplicate init` on a machine as people have it: processes that run, and projects of the usual frameworks. */
import { once } from 'node:events'
import { spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  program,
  restore,
  root,
  run,
  Running,
  start,
  temporaryFolder,
} from '../support/cli.ts'
import { makeNotes } from '../support/notes.ts'

afterEach(() => cleanUp())

function makeDatabase(...paths: string[]): void {
  for (const path of paths) {
    mkdirSync(dirname(path), { recursive: true })
    makeNotes(path)
  }
}

/** In that folder, without a terminal. */
function init(folder: string, args: readonly string[], variables: readonly string[] = []): Running {
  const command = [process.execPath, program, 'init', ...args]
  return new Running('init', 'env', ['-C', folder, '-u', 'DATABASE_URL', ...variables, ...command])
}

/** A process that has a database open, until the end of the test. */
async function hold(path: string): Promise<Running> {
  const script = `
    const db = new (require('better-sqlite3'))(process.argv[1])
    db.prepare('SELECT count(*) FROM note').get()
    console.log('open')
    setInterval(() => undefined, 1000)`
  const holder = new Running('holder', process.execPath, ['-e', script, path], {
    NODE_PATH: join(root, 'node_modules'),
  })
  await holder.waitFor(/open/)
  return holder
}

interface Found {
  readonly path: string
  readonly reasons: readonly string[]
  readonly isInUse: boolean
}

async function list(folder: string, ...variables: string[]): Promise<readonly Found[]> {
  const listing = init(folder, ['-list', '-json'], variables)
  expect(await listing.exit(), listing.output).toBe(0)
  return (JSON.parse(listing.stdout) as { found: readonly Found[] }).found
}

describe('finds', () => {
  test('what a process has open, and nothing that belongs to it or to a replication', async () => {
    const folder = temporaryFolder()
    const db = join(folder, 'data/app.db')
    makeDatabase(db)
    const holder = await hold(db)
    const replicating = start('replicate', db, `file://${join(folder, 'replica')}`)
    await replicating.waitFor(/snapshot written/)
    const found = await list(folder)
    expect(found.map(({ path }) => path)).toEqual([db])
    expect(found[0]?.reasons.join()).toMatch(/^open in node .*\(\d+\) and 1 more$/)
    await replicating.stop()
    expect((await list(folder))[0]?.reasons).toEqual([
      expect.stringMatching(new RegExp(`^open in node .*\\(${holder.pid}\\)$`)),
    ])
    await holder.kill()
    expect(await list(folder)).toMatchObject([{ path: db, reasons: ['lies here'], isInUse: false }])
  })

  test('what projects name, by the file that names it', async () => {
    const folder = temporaryFolder()
    const files: Record<string, string> = {
      'prisma/schema.prisma': `generator client {
  provider = "prisma-client-js"
}

datasource db {
  provider = "sqlite"
  url      = env("STORE")
}
`,
      '.env': '# Prisma\nSTORE="file:./dev.db"\n',
      'drizzle.config.ts': `import 'dotenv/config';
import { defineConfig } from 'drizzle-kit';

export default defineConfig({
  out: './drizzle',
  schema: './src/db/schema.ts',
  dialect: 'sqlite',
  dbCredentials: { url: 'file:local.db' },
});
`,
      'shop/shop/settings.py': `from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
DATABASES = {
    'default': {
        'ENGINE': 'django.db.backends.sqlite3',
        'NAME': BASE_DIR / 'db.sqlite3',
    }
}
`,
      'blog/config/database.yml': `default: &default
  adapter: sqlite3
  max_connections: <%= ENV.fetch("RAILS_MAX_THREADS") { 5 } %>

production:
  primary:
    <<: *default
    database: storage/production.sqlite3
`,
    }
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), text)
    }
    const named = {
      'prisma/dev.db': 'prisma/schema.prisma',
      'local.db': 'drizzle.config.ts',
      'shop/db.sqlite3': 'shop/shop/settings.py',
      'blog/storage/production.sqlite3': 'blog/config/database.yml',
    }
    makeDatabase(
      ...Object.keys(named).map((name) => join(folder, name)),
      join(folder, 'elsewhere/url.db'),
      join(folder, 'lying.sqlite'),
      join(folder, 'node_modules/package/fixture.db'),
      join(folder, '.app.db-tsreplicate/inner.db'),
    )
    symlinkSync(join(folder, 'elsewhere/url.db'), join(folder, 'link.db'))
    writeFileSync(join(folder, 'text.db'), 'no database')
    writeFileSync(join(folder, 'empty.db'), '')
    const found = await list(folder, 'DATABASE_URL=sqlite://link.db')
    const reasons = Object.fromEntries(
      found.map((each) => [each.path.slice(folder.length + 1), each.reasons.join()]),
    )
    expect(reasons).toEqual({
      ...Object.fromEntries(Object.entries(named).map(([name, by]) => [name, `named by ${by}`])),
      'elsewhere/url.db': 'named by DATABASE_URL in the environment',
      'lying.sqlite': 'lies here',
    })
    expect(found.filter(({ isInUse }) => !isInUse)).toHaveLength(1)
  })
})

describe('without a terminal', () => {
  test('says what must be given, and waits for nobody', async () => {
    const folder = temporaryFolder()
    makeDatabase(join(folder, 'app.db'))
    for (const [args, missing] of [
      [[], 'a database and the URL of a replica must be given'],
      [['app.db'], 'the URL of a replica must be given'],
      [['-yes', '-o', 'c.yml', `file://${folder}/replica`], 'a database must be given'],
    ] as const) {
      const asked = init(folder, args)
      expect(await asked.exit(), asked.output).toBe(2)
      expect(asked.stderr).toContain(missing)
      expect(asked.stderr).toContain(`tsreplicate init`)
    }
    expect(readdirSync(folder)).toEqual(['app.db'])
  })

  test('writes a configuration that replicates, and a unit, and overwrites neither', async () => {
    const folder = temporaryFolder()
    const [db, second] = [join(folder, 'app.db'), join(folder, 'sessions.db')]
    makeDatabase(db, second)
    const replica = join(folder, 'replicas')
    const [config, unit] = [join(folder, 'my config.yml'), join(folder, 'tsreplicate.service')]
    const args = [
      '-json',
      '-o',
      config,
      '-unit',
      unit,
      'app.db',
      'sessions.db',
      `file://${replica}`,
    ]
    const writing = init(folder, args)
    expect(await writing.exit(), writing.output).toBe(0)
    expect(JSON.parse(writing.stdout)).toMatchObject({
      config,
      unit,
      databases: [
        { path: db, replicas: [`file://${replica}/app.db`] },
        { path: second, replicas: [`file://${replica}/sessions.db`] },
      ],
    })
    expect(readFileSync(unit, 'utf8')).toContain(`replicate -config "${config}"\n`)
    const daemon = await run('replicate', '-config', config, '-exec', 'true')
    expect(daemon.code, daemon.stderr).toBe(0)
    await restore(join(replica, 'sessions.db'), join(folder, 'restored.db'))

    const text = readFileSync(config, 'utf8')
    for (const path of [config, unit]) {
      const other = path === config ? ['-o', config] : ['-o', `${config}.2`, '-unit', unit]
      const again = init(folder, [...other, 'app.db', `file://${replica}/app.db`])
      expect(await again.exit()).toBe(1)
      expect(again.stderr).toContain(`already exists, and is not overwritten: ${path}`)
    }
    expect(readFileSync(config, 'utf8')).toBe(text)
    expect(existsSync(`${config}.2`)).toBe(false)
  })

  test('adds to a file that has only comments, and leaves that as it was when it fails', async () => {
    const folder = temporaryFolder()
    makeDatabase(join(folder, 'app.db'))
    const config = join(folder, 'tsreplicate.yml')
    const comments = '# As a package brings it.\n#dbs:\n\n'
    writeFileSync(config, comments, { mode: 0o640 })
    const words = ['-o', config, 'app.db', `file://${folder}/replica`]
    const failing = init(folder, [...words, '-unit', 'no/unit'])
    expect(await failing.exit(), failing.output).toBe(1)
    expect(readFileSync(config, 'utf8')).toBe(comments)
    const writing = init(folder, words)
    expect(await writing.exit(), writing.output).toBe(0)
    expect(readFileSync(config, 'utf8').startsWith(comments)).toBe(true)
    expect(statSync(config).mode & 0o777).toBe(0o640)
    const listed = await run('databases', '-config', config)
    expect(listed.stdout, listed.stderr).toContain(join(folder, 'app.db'))
  })

  test('leaves nothing behind where a database or a replica cannot be read', async () => {
    const folder = temporaryFolder()
    makeDatabase(join(folder, 'app.db'))
    writeFileSync(join(folder, 'file'), '')
    for (const [args, code, message] of [
      [['none.db', `file://${folder}/replica`], 1, 'there is no SQLite database'],
      [['file', `file://${folder}/replica`], 1, 'there is no SQLite database'],
      [['app.db', `file://${folder}/file/replica`], 1, `${folder}/file/replica`],
      [['app.db', 'sftp://host/replica'], 78, 'sftp replicas are not supported'],
      [['app.db', `file://${folder}/app.db`], 78, `${folder}/app.db`],
      [['-o', 'no/c.yml', 'app.db', `file://${folder}/replica`], 1, 'cannot write'],
      [
        ['-o', 'c.yml', '-unit', 'no/unit', 'app.db', `file://${folder}/replica`],
        1,
        'cannot write',
      ],
    ] as const) {
      const failing = init(folder, ['-o', 'tsreplicate.yml', ...args])
      expect(await failing.exit(), failing.output).toBe(code)
      expect(failing.stderr).toContain(message)
    }
    expect(readdirSync(folder).sort()).toEqual(['app.db', 'file'])
  })
})

test('at a terminal, asks what it is not told and shows what it will write', async () => {
  const folder = temporaryFolder()
  makeDatabase(join(folder, 'app.db'), join(folder, 'other.db'))
  const command = `'${process.execPath}' '${program}' init -o c.yml`
  const terminal = spawn('script', ['-qec', command, '/dev/null'], {
    cwd: folder,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let seen = ''
  terminal.stdout.setEncoding('utf8').on('data', (text: string) => (seen += text))
  const asked = async (question: RegExp): Promise<void> => {
    while (!question.test(seen)) await once(terminal.stdout, 'data')
    seen = ''
  }
  await asked(/1 +\S+app\.db.*\r\n2 +\S+other\.db[^]*Numbers, or a path \[1\]: /)
  terminal.stdin.write('7\n')
  await asked(/Numbers, or a path \[1\]: /)
  terminal.stdin.write('2\n')
  await asked(/Where to\?.*: /)
  terminal.stdin.write('ftp://host/x\n')
  await asked(/unknown replica type[^]*Where to\?.*: /)
  terminal.stdin.write('./replica\n')
  await asked(/path: \S+other\.db[^]*Write this to \S+c\.yml\? \[Y\/n\] /)
  terminal.stdin.write('\n')
  const hasEnded = once(terminal, 'exit')
  while (terminal.exitCode === null && !/for systemd|wrote/.test(seen)) {
    await Promise.race([once(terminal.stdout, 'data'), hasEnded])
  }
  if (/for systemd/.test(seen)) terminal.stdin.write('n\n')
  const [code] = (await hasEnded) as [number]
  expect(code, seen).toBe(0)
  const text = readFileSync(join(folder, 'c.yml'), 'utf8')
  expect(text).toContain(`- url: file://${folder}/replica\n`)
  expect(text).not.toContain('app.db')
})
