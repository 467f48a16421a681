/**
 * The path of a database as it is configured. It often comes from the variable that the application has, which may hold a
 * connection string.
 */
import { expandPath, type PathContext } from './paths.js'

export type DatabasePath =
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 'problem'; readonly problem: string }

const pathScheme = /^sqlite3?:\/\//i
const otherScheme = /^(?:jdbc:)?(?:sqlite3?|file):(?:\/\/(?:localhost(?=\/))?)?/i
const query = /\?(?:[\w.]+=.*)?$/s

/** Of a connection string only `sqlite://` and `sqlite3://` are taken off. What else it says would be lost: it is refused. */
export function parseDatabasePath(text: string, context: PathContext): DatabasePath {
  const path = text.replace(pathScheme, '')
  const plain = path.replace(otherScheme, '').replace(query, '')
  if (plain === '') return { kind: 'problem', problem: `names no file: ${text}` }
  if (plain === path) return { kind: 'path', path: expandPath(path, context) }
  return {
    kind: 'problem',
    problem: `is a connection string: write the plain path of the file, ${plain}`,
  }
}
