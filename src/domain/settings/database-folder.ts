/** Where databases lie: the file of one, which files of a folder are meant, and where the replicas of each one lie. */
import { type DatabaseFolder, type ReplicaTarget } from './config.js'
import { type KnownDatabase } from './known-database.js'

/** Names beside a database that are none themselves: SQLite's and ours, and what is still being written. */
const notDatabases = /(-wal|-shm|-journal|\.tmp)$/
const stateFolder = /^\..*-(tsreplicate|litestream)(-validation-.*)?$/
const ownState = /^\.(.+)-tsreplicate$/

/** The file itself, whatever leads to it. */
export function fileOf({ path, linkTarget = path }: KnownDatabase): string {
  return linkTarget
}

/** Whether a file of this name can be a database. */
export function mayBeDatabase(name: string): boolean {
  return !notDatabases.test(name)
}

/** Whether a folder of this name holds somebody's local state. */
export function isStateFolder(name: string): boolean {
  return stateFolder.test(name)
}

/** The name of the database whose local state lies in a folder of this name; undefined: no state of ours does. */
export function databaseOfState(name: string): string | undefined {
  return ownState.exec(name)?.[1]
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

/** Every `[…]` is closed, and holds characters and ranges that there are. */
function isPattern(text: string): boolean {
  try {
    globToRegExp(text)
  } catch {
    return false
  }
  return !text.replaceAll(/\[!?[^\]]+\]/g, (token) => (token === '[!]' ? token : '')).includes('[')
}

/** Why no path within the folder is ever meant by the pattern, and what to write instead; undefined: some are. */
export function patternProblem({
  pattern,
  recursive,
}: Pick<DatabaseFolder, 'pattern' | 'recursive'>): string | undefined {
  const parts = pattern.split('/')
  if (!isPattern(pattern)) return `not a pattern: ${pattern}`
  if (/[{}]/.test(pattern.replaceAll(/\[[^\]]*\]/g, ''))) {
    return `{ and } are ordinary characters, not alternatives: ${pattern}. Write * for every database, or [{] for a name with a brace`
  }
  if (pattern.startsWith('!')) {
    return `! excludes nothing: ${pattern}. Write a pattern that matches the files you want, with [!…] for other characters, or ? for an ordinary !`
  }
  if (pattern.startsWith('/')) {
    return `is relative to dir, so it must not begin with /: write ${pattern.replace(/^\/+/, '')}`
  }
  if (pattern.endsWith('/')) return `matches files, so it must not end with /: write ${pattern}*`
  if (parts.some((part) => part === '' || part === '.' || part === '..')) {
    return `is a path within dir, so it must not contain ., .. or //: ${pattern}`
  }
  if (!recursive && parts.length > 1) {
    return `names folders in dir, which are read only with recursive: true: ${pattern}`
  }
  if (!mayBeDatabase(pattern)) return `matches files beside databases, not databases: ${pattern}`
  return undefined
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
export function databaseIn(folder: DatabaseFolder, relativePath: string): KnownDatabase {
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

/** The folder that a database belongs to: of several that mean its path, the last one in the configuration. */
export function folderOf(
  folders: readonly DatabaseFolder[],
  path: string,
): { readonly folder: DatabaseFolder; readonly relativePath: string } | undefined {
  const folder = folders.findLast(
    (each) => path.startsWith(`${each.path}/`) && isMeant(each, path.slice(each.path.length + 1)),
  )
  return folder && { folder, relativePath: path.slice(folder.path.length + 1) }
}

/** The configuration of a database by its path, whether it exists or not; undefined: no folder means it. */
export function databaseAt(
  folders: readonly DatabaseFolder[],
  path: string,
): KnownDatabase | undefined {
  const owner = folderOf(folders, path)
  return owner && databaseIn(owner.folder, owner.relativePath)
}

function below(target: ReplicaTarget, relativePath: string): ReplicaTarget {
  if (target.type === 'file') return { ...target, path: `${target.path}/${relativePath}` }
  const prefix = target.prefix === '' ? relativePath : `${target.prefix}/${relativePath}`
  return { ...target, prefix }
}
