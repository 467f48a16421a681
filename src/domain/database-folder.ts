/** Folders of databases: which files in them are meant, and where the replicas of each one lie. */
import { type DatabaseConfig, type DatabaseFolder, type ReplicaTarget } from './config.js'

/** Names beside a database that are none themselves: SQLite's and ours, and what is still being written. */
const notDatabases = /(-wal|-shm|-journal|\.tmp)$/
const stateFolder = /^\..*-(tsreplicate|litestream)(-validation-.*)?$/

/** Whether a file of this name can be a database. */
export function mayBeDatabase(name: string): boolean {
  return !notDatabases.test(name)
}

/** Whether a folder of this name holds somebody's local state. */
export function isStateFolder(name: string): boolean {
  return stateFolder.test(name)
}

/** Whether a path relative to the folder, with slashes, is meant by its pattern. */
export function isMeant(folder: DatabaseFolder, relativePath: string): boolean {
  const parts = relativePath.split('/')
  const name = parts.at(-1) ?? ''
  if (!folder.recursive && parts.length > 1) return false
  if (!mayBeDatabase(name) || parts.slice(0, -1).some(isStateFolder)) return false
  const { pattern } = folder
  return globToRegExp(pattern).test(pattern.includes('/') ? relativePath : name)
}

/** Whether the text is a pattern: every `[…]` is closed, and holds characters and ranges that there are. */
export function isPattern(text: string): boolean {
  try {
    globToRegExp(text)
  } catch {
    return false
  }
  return !text.replaceAll(/\[!?[^\]]+\]/g, (token) => (token === '[!]' ? token : '')).includes('[')
}

/** `*` and `?` stop at a slash, `**` does not, `[…]` is one of these characters. */
function globToRegExp(pattern: string): RegExp {
  const source = pattern.replaceAll(/\*\*\/|\*\*|\*|\?|\[!?[^\]]+\]|[\\^$.|+(){}[\]]/g, (token) => {
    if (token === '**/') return '(?:.*/)?'
    if (token === '**') return '.*'
    if (token === '*') return '[^/]*'
    if (token === '?') return '[^/]'
    if (token.length > 1) return token.replace(/^\[!/, '[^')
    return `\\${token}`
  })
  return new RegExp(`^${source}$`)
}

/**
 * The configuration of one database of a folder: what the folder's says, with the database's path relative to the folder
 * behind the place of every replica, so that no two share one.
 */
export function databaseIn(folder: DatabaseFolder, relativePath: string): DatabaseConfig {
  const at = relativePath.lastIndexOf('/') + 1
  const [subfolder, name] = [relativePath.slice(0, at), relativePath.slice(at)]
  const base = folder.metaPath ?? folder.path
  return {
    ...folder.database,
    path: `${folder.path}/${relativePath}`,
    metaPath: `${base}/${subfolder}.${name}-tsreplicate`,
    comesAndGoes: true,
    replicas: folder.database.replicas.map((replica) => ({
      ...replica,
      target: below(replica.target, relativePath),
    })),
  }
}

/** The configuration of a database by its path, whether it exists or not; undefined: no folder means it. */
export function databaseAt(
  folders: readonly DatabaseFolder[],
  path: string,
): DatabaseConfig | undefined {
  for (const folder of folders) {
    if (!path.startsWith(`${folder.path}/`)) continue
    const relativePath = path.slice(folder.path.length + 1)
    if (isMeant(folder, relativePath)) return databaseIn(folder, relativePath)
  }
  return undefined
}

function below(target: ReplicaTarget, relativePath: string): ReplicaTarget {
  if (target.type === 'file') return { ...target, path: `${target.path}/${relativePath}` }
  const prefix = target.prefix === '' ? relativePath : `${target.prefix}/${relativePath}`
  return { ...target, prefix }
}
