import type BetterSqlite3 from 'better-sqlite3'
import { ConfigError } from '../../domain/errors.js'
import {
  hasOpenLog,
  nextDescriptor,
  OtherFileError,
  refuseOtherFile,
} from '../sqlite-library/opened-file.js'
import { unlessUnloadable } from '../sqlite-library/unless-unloadable.js'
import { type CheckRequest, type CheckResult } from './image-messages.js'

/** How SQLite begins what it says of pages that do not fit together; all else is about what is stored in them. */
const structural = /^\*\*\* in database /
const damaged = /^SQLITE_(CORRUPT|NOTADB)/
/** A schema that needs functions, collations or modules of the application. */
const notForUs = /^SQLITE_ERROR/
const maxShown = 5

/**
 * Lets SQLite read the file through. Only what does not fit together is damage. An index that is not what its table says, or
 * a NULL that may not be one, is what the application has stored: it is remarked. Constraints (CHECK) are not even
 * computed: a connection that cannot write does not know them. Not a byte of it is changed, and what
 * is stored may call nothing that reaches outside. SQLite makes `-wal` and `-shm` beside it, and would read them: nobody
 * else may write to the folder. This build of it knows no URIs, by which a file is opened as immutable (`SQLITE_USE_URI=0`);
 * so what it has open is looked at: that file, and no log with anything in it.
 */
export async function checkIntegrity({ path, file, pragma }: CheckRequest): Promise<CheckResult> {
  const { default: open } = await import('better-sqlite3')
  try {
    const first = nextDescriptor()
    const database = openHeld(() => open(path, { readonly: true, fileMustExist: true }))
    try {
      refuseOtherFile(file, first)
      database.exec('PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON')
      // It reads each page once; a full check looks up each row in each index.
      if (pragma === 'quick_check') database.exec('PRAGMA cache_size = -1000')
      const result = check(database, pragma, open.SqliteError)
      if (hasOpenLog()) return { verdict: 'failed', detail: 'somebody has put a log beside it' }
      return result
    } finally {
      database.close()
    }
  } catch (error) {
    if (error instanceof ConfigError || error instanceof OtherFileError)
      return { verdict: 'failed', detail: error.message }
    if (!(error instanceof open.SqliteError)) throw error
    if (damaged.test(error.code)) return { verdict: 'damaged', detail: error.message }
    return { verdict: 'failed', detail: error.message }
  }
}

/** Who may write to the folder above can have taken the whole folder away, of which better-sqlite3 says so by a `TypeError`. */
function openHeld(open: () => BetterSqlite3.Database): BetterSqlite3.Database {
  try {
    return unlessUnloadable(open)
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new OtherFileError('its folder is not there any more')
  }
}

type SqliteErrorClass = typeof BetterSqlite3.SqliteError

function check(
  database: BetterSqlite3.Database,
  pragma: string,
  SqliteError: SqliteErrorClass,
): CheckResult {
  try {
    return judge(said(database, pragma), pragma, [])
  } catch (error) {
    if (!(error instanceof SqliteError) || !notForUs.test(error.code)) throw error
    const remark = `SQLite cannot run ${pragma} on everything, only the application can: ${error.message}`
    return judge(saidOfTables(database, pragma, SqliteError), pragma, [remark])
  }
}

function said(database: BetterSqlite3.Database, pragma: string): string[] {
  const rows = database.pragma(pragma) as Record<string, unknown>[]
  return rows.flatMap((row) => Object.values(row).map(String)).filter((line) => line !== 'ok')
}

/** Table by table, of those that can be checked without the application. */
function saidOfTables(
  database: BetterSqlite3.Database,
  pragma: string,
  SqliteError: SqliteErrorClass,
): string[] {
  const names = database.prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table'")
  const all = names.pluck().all()
  return all.flatMap((name) => {
    try {
      return said(database, `${pragma}("${name.replaceAll('"', '""')}")`)
    } catch (error) {
      if (error instanceof SqliteError && notForUs.test(error.code)) return []
      throw error
    }
  })
}

function judge(lines: readonly string[], pragma: string, remarks: readonly string[]): CheckResult {
  const damage = lines.find((line) => structural.test(line))
  if (damage !== undefined) return { verdict: 'damaged', detail: damage }
  const different = [...new Set(lines)]
  if (different.length === 0) return { verdict: 'sound', remarks }
  const more = different.length > maxShown ? `; and ${different.length - maxShown} more` : ''
  const shown = `${different.slice(0, maxShown).join('; ')}${more}`
  const text = `${pragma} finds no damage, but remarks on what the application has stored: ${shown}`
  return { verdict: 'sound', remarks: [...remarks, text] }
}
