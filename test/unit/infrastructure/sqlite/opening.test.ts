/** Somebody exchanges the folder of a database for another one between two steps of SQLite, which are a few microseconds. */
import Database from 'better-sqlite3'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { connect } from '../../../../src/infrastructure/sqlite/connection.js'
import { logFilesNow } from '../../../../src/infrastructure/sqlite/log-files.js'
import { type DatabaseFiles, Opening } from '../../../../src/infrastructure/sqlite/opening.js'
import { checkpoint } from '../../../../src/infrastructure/sqlite/wal-reader.js'
import { WriterLock } from '../../../../src/infrastructure/sqlite/writer-lock.js'

let folder: string
let path: string
let applications: Database.Database[]
const opened: Database.Database[] = []

beforeEach(() => {
  folder = fs.mkdtempSync(join(fs.realpathSync(tmpdir()), 'tsreplicate-'))
  applications = ['alice', 'bob'].map((name) => {
    fs.mkdirSync(join(folder, name))
    const application = new Database(join(folder, name, 'app.db'))
    application.exec(`PRAGMA journal_mode = wal; CREATE TABLE ${name} (n)`)
    return application
  })
  path = join(folder, 'alice', 'app.db')
})

afterEach(() => {
  for (const database of [...applications, ...opened.splice(0)]) database.close()
  fs.rmSync(folder, { recursive: true })
})

/** Her folder is a link to Bob's from now on. */
function swap(): void {
  fs.renameSync(join(folder, 'alice'), join(folder, 'old'))
  fs.symlinkSync('bob', join(folder, 'alice'))
}

function filesOf(name: string): DatabaseFiles {
  const database = join(folder, name, 'app.db')
  const { dev: device, ino: inode } = fs.statSync(database)
  return { identity: { device, inode }, log: logFilesNow(database) }
}

function open(): Database.Database {
  const connection = new Database(path)
  opened.push(connection)
  return connection
}

describe.skipIf(process.platform !== 'linux')('what SQLite opens', () => {
  test('is the database and the logs beside it, also in a folder that has another name now', () => {
    const files = filesOf('alice')
    const opening = new Opening()
    const connection = open()
    opening.refuseOtherFile(files.identity)
    connection.pragma('schema_version')
    fs.renameSync(join(folder, 'alice'), join(folder, 'moved'))
    // The wal-index was open in this process already.
    opening.refuseOtherLogs(files)
    expect(() => opening.refuseOtherLogs(filesOf('bob'))).toThrow(
      /another file is in the place of its -wal/,
    )
  })

  test('is refused where the folder was another one from the first step on', () => {
    const { identity } = filesOf('alice')
    swap()
    expect(() => connect(path, { identity })).toThrow(/another file/)
    expect(() => checkpoint(path, filesOf('old'))).toThrow(/another file/)
    const lock = { spinMs: 0, holdMs: 1000, files: filesOf('old') }
    expect(() => WriterLock.take(path, lock)).toThrow(/another file/)
  })

  test('is refused where the logs are another one’s', () => {
    const { identity } = filesOf('alice')
    const opening = new Opening()
    const connection = open()
    opening.refuseOtherFile(identity)
    swap()
    connection.pragma('schema_version')
    const old = filesOf('old')
    expect(() => opening.refuseOtherLogs(old)).toThrow(/another file is in the place of its -wal/)
    expect(() => opening.logsBeside(identity, path)).toThrow(
      /another file is in the place of its -wal/,
    )
  })
})
