import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { library, program } from '../support/cli.js'

const generation = '0123456789abcdef'
let folder = ''
let config = ''

interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

function run(...argv: string[]): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...argv], {
    cwd: folder,
    encoding: 'utf8',
    env: { PATH: process.env['PATH'] ?? '', LITESTREAM_CONFIG: config },
  })
  return { status, stdout, stderr }
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsreplicate-cli-'))
  config = join(folder, 'c.yml')
  writeFileSync(
    config,
    `dbs:\n  - path: ${folder}/a.db\n    replicas: [{path: ${folder}/r}]\n  - path: ${folder}/b.db\n`,
  )
  writeFileSync(join(folder, 'empty.yml'), '')
  const root = join(folder, 'r', 'generations', generation)
  mkdirSync(join(root, 'snapshots'), { recursive: true })
  mkdirSync(join(root, 'wal'))
  writeFileSync(join(root, 'snapshots', '00000000.snapshot.lz4'), 'x'.repeat(10))
  writeFileSync(join(root, 'wal', '0000000a_00001020.wal.lz4'), 'x'.repeat(20))
})

afterAll(() => rmSync(folder, { recursive: true }))

describe('usage', () => {
  it.each([
    [['--help'], 0],
    [['-h'], 0],
    [['restore', '-help'], 0],
    [['version'], 0],
    [['--version'], 0],
    [['-version', '-json'], 0],
    [[], 2],
    [['nope'], 2],
    [['-nope'], 2],
    [['wal', '-nope'], 2],
    [['wal'], 2],
    [['databases', 'x'], 2],
    [['generations'], 2],
    [['replicate', 'a.db', ''], 2],
    [['snapshots', '-config', 'x', 'file:///x'], 2],
    [['replicate', 'a.db'], 2],
    [['replicate', '-config', 'empty.yml'], 78],
    [['restore'], 2],
    [['restore', 'file:///x'], 2],
    [['restore', '-o', 'x', '-timestamp', 'today', 'file:///x'], 2],
    [['databases', '-config', 'none.yml'], 78],
    [['snapshots', 'c.db'], 78],
    [['restore', '-o', 'x', 'sftp://host/path'], 78],
    [['replicate', 'a.db', 'sftp://host/path'], 78],
  ])('%j exits with %d', (argv, status) => {
    const outcome = run(...argv)
    expect(outcome.status, outcome.stderr).toBe(status)
    if (status === 0) expect(outcome.stdout).not.toBe('')
    else expect(outcome.stdout).toBe('')
    if (status !== 0) expect(outcome.stderr).not.toMatch(/ {4}at /)
  })

  it.each([
    [['replicate', '-exec', '', 'a.db', 'file:///x'], 'Is a variable not set?'],
    [['restore', '-timestamp', '2026-11-28T22:00:00', 'a.db'], 'write 2026-11-28T22:00:00Z if'],
    [['restore', '-timestamp', 'yesterday', 'a.db'], 'RFC 3339 with a zone'],
    [['restore', '-parallelism', 'abc', 'a.db'], 'a whole number'],
    [['restore', '-parallelsm', '1', 'a.db'], 'Did you mean -parallelism?'],
    [['retention', '-keep-daily', 'x', 'file:///x'], 'a whole number'],
    [['wal', 'a.db', 'b.db'], 'tsreplicate wal --help'],
  ])('says of %j what is wanted', (argv, hint) => {
    const { status, stderr } = run(...argv)
    expect(status, stderr).toBe(2)
    expect(stderr).toMatch(/^hint: /m)
    expect(stderr).toContain(hint)
  })

  it('says how a folder is written when a path is no database of the configuration', () => {
    const { status, stderr } = run('restore', '-o', 'x', 'backup/app')
    expect(status).toBe(78)
    expect(stderr).toContain('a folder is written file:///absolute/path')
  })

  it('says that -replica has no effect on a URL', () => {
    const { status, stderr } = run('snapshots', '-replica', 'foo', `file://${folder}/r`)
    expect(status).toBe(0)
    expect(stderr).toContain('msg="-replica has no effect on a URL"')
  })

  it('prints an error on one line and as JSON', () => {
    const { stdout, stderr } = run('databases', '-config=none.yml', '-json')
    expect(stderr.split('\n')[0]).toBe(
      `tsreplicate: config file not found: ${join(folder, 'none.yml')}`,
    )
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'CONFIG' } })
  })
})

describe('listings', () => {
  it('lists databases', () => {
    expect(run('databases').stdout).toBe(
      `${'path'.padEnd(folder.length + 7)}replicas\n${folder}/a.db  file\n${folder}/b.db  \n`,
    )
  })

  it('lists generations, from a path and from a URL, flags in any place', () => {
    expect(run('generations', 'a.db', '-json').status).toBe(0)
    const { stdout, status } = run('generations', `file://${folder}/r`)
    expect(status).toBe(0)
    expect(stdout).toMatch(/^name {2}generation {8}lag +start +end\nfile {2}0123456789abcdef {2}/)
  })

  it('shows no negative lag where the store is the later of two clocks, and whole milliseconds', () => {
    const place = join(folder, 'ahead')
    const segment = join(place, 'generations', generation, 'wal', '00000000_00000000.wal.lz4')
    mkdirSync(dirname(segment), { recursive: true })
    writeFileSync(segment, '')
    writeFileSync(join(folder, 'ahead.db'), '')
    utimesSync(join(folder, 'ahead.db'), 1_800_000_000, 1_800_000_000)
    utimesSync(segment, 1_800_000_000.056673, 1_800_000_000.056673)
    const ahead = join(folder, 'ahead.yml')
    writeFileSync(ahead, `dbs:\n  - path: ${folder}/ahead.db\n    replicas: [{path: ${place}}]\n`)
    expect(run('generations', '-config', ahead).stdout).toContain(`${generation}  0s `)
    utimesSync(join(folder, 'ahead.db'), 1_800_000_001.5007, 1_800_000_001.5007)
    const { stdout } = run('generations', '-config', ahead, '-json')
    expect(JSON.parse(stdout)).toMatchObject([{ lagMs: 1444 }])
  })

  it('lists snapshots and WAL segments with decimal numbers', () => {
    expect(JSON.parse(run('snapshots', '--json', 'a.db').stdout)).toMatchObject([
      { replica: 'file', generation, index: 0, size: 10 },
    ])
    expect(run('wal', '-generation', generation, 'a.db').stdout).toMatch(
      /^replica {2}generation {8}index {2}offset {2}size {2}created\nfile {5}0123456789abcdef {2}10 {5}4128 {4}20 /,
    )
  })

  it('lists an absent folder as empty', () => {
    expect(run('snapshots', `file://${folder}/none`)).toMatchObject({
      status: 0,
      stdout: 'replica  generation  index  size  created\n',
    })
  })

  it('exits with 1 when a replica cannot be listed', () => {
    writeFileSync(join(folder, 'file'), '')
    const outcome = run('snapshots', `file://${folder}/file`)
    expect(outcome.status).toBe(1)
    expect(outcome.stderr).toContain('msg="cannot determine snapshots"')
  })
})

describe('a command without a database', () => {
  it.each([
    ['snapshots', 0],
    ['wal', 0],
    ['retention', 0],
    ['verify', 1],
  ])('%s takes the only one of the configuration', (command, status) => {
    const only = join(folder, 'only.yml')
    writeFileSync(only, `dbs:\n  - path: ${folder}/only.db\n    replicas: [{path: ${folder}/0}]\n`)
    const outcome = run(command, '-config', only)
    expect(outcome.status, outcome.stderr).toBe(status)
    expect(outcome.stdout).not.toBe('')
  })

  it('is told the databases to choose from', () => {
    const { status, stderr } = run('wal')
    expect(status).toBe(2)
    expect(stderr).toContain(`${folder}/a.db, ${folder}/b.db`)
  })
})

describe('restore', () => {
  it('skips when asked to', () => {
    writeFileSync(join(folder, 'there.db'), '')
    const url = `file://${folder}/none`
    expect(run('restore', '-if-db-not-exists', '-o', 'there.db', url).status).toBe(0)
    expect(run('restore', '-if-replica-exists', '-o', 'new.db', url).status).toBe(0)
    const outcome = run('restore', '-o', 'new.db', url)
    expect(outcome.status).toBe(1)
    expect(outcome.stderr).toContain(
      `tsreplicate: no matching backups found\nhint: Replica file, ${folder}/none, holds no backup.\n`,
    )
  })

  it('says what is there when it is not what was asked for', () => {
    const other = 'fedcba9876543210'
    const outcome = run('restore', '-generation', other, '-o', 'new.db', 'a.db')
    expect(outcome.status).toBe(1)
    expect(outcome.stderr).toBe(
      `tsreplicate: no matching backups found\nhint: Replica file, ${folder}/r, holds generation ${generation}, but not ${other}.\n`,
    )
    expect(run('restore', '-o', 'new.db', 'b.db').stderr).toContain('The database has no replica.')
  })

  it('does not take an empty output for the current folder', () => {
    const { status, stderr } = run('restore', '-o', '', 'a.db')
    expect(status).toBe(2)
    expect(stderr).toBe('tsreplicate: -o has an empty value\nhint: Is a variable not set?\n')
  })

  it('makes no folder of a URL that is given as the output', () => {
    const { status, stderr } = run('restore', '-o', 'file:///x/new.db', 'a.db')
    expect(status).toBe(2)
    expect(stderr).toContain('-o is a URL, but names the database file to create: file:///x/new.db')
    expect(stderr).toContain('hint: Write -o /x/new.db for a file.')
    expect(readdirSync(folder)).not.toContain('file:')
    for (const args of [
      ['-o', 's3://KEY:hunter2/more@b', 'a.db'],
      ['-o', 'out.db', 's3:/KEY:hunter2/more@b'],
    ]) {
      const secret = run('restore', ...args)
      expect(secret.status).toBeGreaterThan(0)
      expect(secret.stderr).not.toMatch(/hunter2|more/)
    }
  })
})

describe.each([
  ['bun', '1.4.5', 'Bun 1.4.5: install Node.js'],
  ['deno', '2.9.6', 'Deno 2.9.6: install Node.js'],
  ['node', '20.19.0', '20.19.0: install a current Node.js'],
])('run by what has the version %s %s', (key, value, told) => {
  const expected = `tsreplicate needs Node.js 22.22 or later, but this is ${told}`
  const pretend = `Object.defineProperty(process.versions, '${key}', { value: '${value}' })`
  const preload = ['--import', `data:text/javascript,${encodeURIComponent(pretend)}`]
  const under = (...args: string[]) =>
    spawnSync(process.execPath, [...preload, ...args], { cwd: folder, encoding: 'utf8' })

  it('the command ends with 78 and says what is needed', () => {
    const { status, stdout, stderr } = under(program, 'version')
    expect({ status, stdout }).toEqual({ status: 78, stdout: '' })
    expect(stderr).toContain(expected)
  })

  it.each([
    ['imported', `import(${JSON.stringify(library)})`],
    ['required', `new Promise((done) => done(require(${JSON.stringify(library)})))`],
  ])('the library that is %s throws what says so', (_, load) => {
    const { stdout, stderr } = under(
      '-e',
      `${load}.catch(({ code, message }) => console.log(code, message))`,
    )
    expect(stdout, stderr).toContain(`CONFIG ${expected}`)
  })
})
