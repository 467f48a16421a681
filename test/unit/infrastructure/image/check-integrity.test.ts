import Database from 'better-sqlite3'
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { checkIntegrity as check } from '../../../../src/infrastructure/image/check-integrity.ts'
import {
  type CheckRequest,
  type CheckResult,
} from '../../../../src/infrastructure/image/image-messages.ts'

const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-check-'))
afterAll(() => rmSync(folder, { recursive: true }))

function checkIntegrity(request: Omit<CheckRequest, 'file'>): Promise<CheckResult> {
  const { dev: device, ino: inode } = statSync(request.path)
  return check({ ...request, file: { device, inode } })
}

let count = 0

/** A database whose schema says something else, in the end, than what it was made with. */
function make(sql: string, replaced?: [string, string]): string {
  const path = join(folder, `${(count += 1)}.db`)
  const database = new Database(path)
  database.function('app', { deterministic: true }, (value: unknown) => value)
  database.exec(sql)
  if (replaced !== undefined) {
    database.unsafeMode(true).pragma('writable_schema = on')
    database.prepare('UPDATE sqlite_schema SET sql = replace(sql, ?, ?)').run(...replaced)
  }
  database.close()
  return path
}

const rows =
  'INSERT INTO t SELECT value, NULL FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value+1 FROM n WHERE value < 2000) SELECT value FROM n)'

function damage(path: string): string {
  const descriptor = openSync(path, 'r+')
  writeSync(descriptor, Buffer.alloc(100, 0xff), 0, 100, 4096 * 2)
  closeSync(descriptor)
  return path
}

const collated: [string, string] = ['COLLATE NOCASE', 'COLLATE app']

describe.each(['quick_check', 'integrity_check'] as const)('%s', (pragma) => {
  it('computes no constraint that a row may break: they are the business of the application', async () => {
    const path = make(`CREATE TABLE t (a, b); ${rows}`, ['a,', 'a CHECK (a > 5),'])
    expect(await checkIntegrity({ path, pragma })).toEqual({ verdict: 'sound', remarks: [] })
  })

  it('is sound', async () => {
    const path = make(`CREATE TABLE t (a, b); ${rows}`)
    expect(await checkIntegrity({ path, pragma })).toEqual({ verdict: 'sound', remarks: [] })
  })

  it.each([
    [
      'a column that became NOT NULL',
      make(`CREATE TABLE t (a, b); ${rows}`, ['b)', 'b NOT NULL)']),
      /: NULL value in t\.b$/,
    ],
    [
      'an index of texts that is behind its content',
      make(
        "CREATE TABLE s (x); CREATE VIRTUAL TABLE f USING fts4(content='s', x); INSERT INTO s VALUES ('a')",
      ),
      /: malformed inverted index for FTS4 table main\.f$/,
    ],
    [
      'a view that calls what is not for schemas',
      make(
        "CREATE VIEW s AS SELECT 1 AS rowid, rtreedepth(x'0005') AS x; CREATE VIRTUAL TABLE f USING fts4(content='s', x)",
      ),
      /: unable to validate the inverted index for FTS4 table main\.f: SQL logic error$/,
    ],
    [
      'a collation of the application',
      make(`CREATE TABLE t (a, b); CREATE INDEX i ON t (a COLLATE NOCASE); ${rows}`, collated),
      /^SQLite cannot run \w+ on everything, .*: no such collation sequence: app$/,
    ],
    [
      'a tokenizer of the application',
      make("CREATE VIRTUAL TABLE f USING fts4(x, tokenize='simple')", ['simple', 'app']),
      /^SQLite cannot run \w+ on everything, .*: unknown tokenizer: app$/,
    ],
  ])('remarks on %s', async (_, path, remark) => {
    expect(await checkIntegrity({ path, pragma })).toEqual({
      verdict: 'sound',
      remarks: [expect.stringMatching(remark)],
    })
  })

  it('finds damage', async () => {
    const path = damage(make(`CREATE TABLE t (a, b); ${rows}`))
    expect(await checkIntegrity({ path, pragma })).toMatchObject({ verdict: 'damaged' })
    writeFileSync(path, 'SQLite format 3 no more')
    expect(await checkIntegrity({ path, pragma })).toMatchObject({ verdict: 'damaged' })
  })

  it('does not read a page on which a row is longer than the page', async () => {
    const path = make(`CREATE TABLE t (a, b); ${rows}`)
    const [pageBytes, leafOfTable] = [4096, 13]
    const content = readFileSync(path)
    const page = 3 * pageBytes
    expect(content[page]).toBe(leafOfTable)
    content[page + content.readUInt16BE(page + 8)] = 127
    writeFileSync(path, content)
    // Without `cell_size_check`, what it reads there would be part of the answer.
    expect(await checkIntegrity({ path, pragma })).toEqual({
      verdict: 'damaged',
      detail: 'database disk image is malformed',
    })
  })

  it('finds damage beside what only the application can check', async () => {
    const made = make(
      `CREATE TABLE t (a, b); ${rows}; CREATE TABLE u (c TEXT COLLATE NOCASE UNIQUE)`,
      collated,
    )
    expect(await checkIntegrity({ path: damage(made), pragma })).toMatchObject({
      verdict: 'damaged',
    })
  })
})

it('says what of an index only the application can compute', async () => {
  const path = make(`CREATE TABLE t (a, b); CREATE INDEX i ON t (app(a)); ${rows}`)
  expect(await checkIntegrity({ path, pragma: 'integrity_check' })).toEqual({
    verdict: 'sound',
    remarks: [expect.stringContaining('unknown function: app()')],
  })
})

describe('what SQLite reads', () => {
  const pragma = 'quick_check'

  it('is the file that was meant, or is not judged', async () => {
    const [meant, other] = [make('CREATE TABLE t (a)'), make('CREATE TABLE t (b)')]
    const { dev: device, ino: inode } = statSync(meant)
    expect(await check({ path: other, pragma, file: { device, inode } })).toEqual({
      verdict: 'failed',
      detail: 'another file has taken its place',
    })
  })

  it('is not judged where its folder was taken away', async () => {
    const file = { device: 1, inode: 1 }
    expect(await check({ path: join(folder, 'gone', 'a.db'), pragma, file })).toEqual({
      verdict: 'failed',
      detail: 'its folder is not there any more',
    })
  })

  it('is no log that somebody has put beside it, or it is not judged', async () => {
    const path = make('CREATE TABLE t (a); PRAGMA journal_mode = WAL')
    expect(await checkIntegrity({ path, pragma })).toMatchObject({ verdict: 'sound' })
    const writer = new Database(path)
    writer.exec('INSERT INTO t VALUES (1)')
    expect(await checkIntegrity({ path, pragma })).toEqual({
      verdict: 'failed',
      detail: 'somebody has put a log beside it',
    })
    writer.close()
  })
})
