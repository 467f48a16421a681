/** A small database of an application: a table of notes. */
import Database from 'better-sqlite3'

/** A database in WAL mode with these notes. */
export function makeNotes(path: string, ...notes: readonly string[]): void {
  const db = new Database(path)
  db.exec('PRAGMA journal_mode = wal; CREATE TABLE note (text)')
  const insert = db.prepare('INSERT INTO note VALUES (?)')
  for (const note of notes) insert.run(note)
  db.close()
}

/** The application adds one. */
export function addNote(path: string, note: string): void {
  const db = new Database(path)
  db.prepare('INSERT INTO note VALUES (?)').run(note)
  db.close()
}

/** Its notes, in the order in which they were written. */
export function notesIn(path: string): unknown[] {
  const db = new Database(path, { readonly: true })
  try {
    return db.prepare('SELECT text FROM note ORDER BY rowid').pluck().all()
  } finally {
    db.close()
  }
}
