import Database from 'better-sqlite3'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EmptyFileError } from '../../../../src/infrastructure/sqlite/connection.js'
import { WalCapture } from '../../../../src/infrastructure/sqlite/wal-capture.js'
import { tryCheckpoint, WalReader } from '../../../../src/infrastructure/sqlite/wal-reader.js'
import { WriterLock } from '../../../../src/infrastructure/sqlite/writer-lock.js'

let folder: string
let path: string
let application: Database.Database

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsreplicate-'))
  path = join(folder, 'app.db')
  application = new Database(path, { timeout: 0 })
  application.exec('PRAGMA journal_mode = wal; CREATE TABLE t (n)')
})

afterEach(() => {
  application.close()
  rmSync(folder, { recursive: true })
})

// Another process does so: a descriptor that is closed in this one would drop SQLite's locks.
const empty = (): void => void execFileSync('truncate', ['-s', '0', path])

test.each<[string, () => unknown]>([
  ['a reader', () => new WalReader(path)],
  ['the writer lock', () => WriterLock.take(path, { spinMs: 0, holdMs: 1000 })],
])('%s is not opened on a file that is empty: SQLite would delete its log', (_, open) => {
  const { ino, size } = statSync(`${path}-wal`)
  empty()
  expect(open).toThrow(EmptyFileError)
  expect(statSync(`${path}-wal`)).toMatchObject({ ino, size })
})

const magic = Buffer.from('d9d505f920a163d7', 'hex')
const journals: [string, () => void, RegExp][] = [
  ['a FIFO', () => execFileSync('mkfifo', [`${path}-journal`]), /not a regular file: .*-journal/],
  [
    'one that names another',
    () => writeFileSync(`${path}-journal`, Buffer.from([1, 0, 0, 0, 1, 0, 0, 0, 1, ...magic])),
    /of a transaction in several databases/,
  ],
]

test.each(journals)('nothing is opened beside a journal that is %s', (_, put, why) => {
  put()
  // By now, SQLite would wait without end.
  expect(() => new WalReader(path)).toThrow(why)
  expect(() => WriterLock.take(path, { spinMs: 0, holdMs: 1000 })).toThrow(why)
  expect(() => new WalCapture(path).open()).toThrow(why)
  expect(tryCheckpoint(path)).toBe('failed')
})

test('a database is opened beside a journal that a crash has left, or that means nothing', () => {
  writeFileSync(`${path}-journal`, '')
  new WalReader(path).close()
  writeFileSync(`${path}-journal`, Buffer.alloc(1024))
  new WalReader(path).close()
})

test('a checkpoint of a file that is empty is not tried', () => {
  const { ino, size } = statSync(`${path}-wal`)
  empty()
  expect(tryCheckpoint(path)).toBe('failed')
  expect(statSync(`${path}-wal`)).toMatchObject({ ino, size })
})

test('a capture goes on when the file has content again, with the log that was there', () => {
  const saved = join(folder, 'saved.db')
  application.pragma('wal_checkpoint(FULL)')
  execFileSync('cp', [path, saved])
  const capture = new WalCapture(path)
  try {
    capture.open()
    capture.begin(undefined)
    capture.capture(1 << 20)
    application.exec('INSERT INTO t VALUES (1)')
    capture.rest()
    empty()
    expect(() => capture.capture(1 << 20)).toThrow(EmptyFileError)
    expect(existsSync(`${path}-wal`)).toBe(true)
    execFileSync('cp', [saved, path])
    expect(capture.capture(1 << 20)).toMatchObject({ continuity: { kind: 'continuous' } })
  } finally {
    capture.close()
  }
})
