import { type Stats } from 'node:fs'
import { lstat, readlink } from 'node:fs/promises'
import { dirname, join, resolve, sep } from 'node:path'
import { codeOf } from '../../kit/error-text.js'

const othersMayWrite = 0o022
/** In a folder with this bit, only the owner of a file may rename or remove it. */
const sticky = 0o1000
const maxLinks = 40

/**
 * Who besides root and us may put something else in the place of the folder `path` or of what is in it, for people; undefined:
 * nobody. Every folder on the way counts, those that links lead through, too. What does not exist is not counted.
 */
export async function whoCanChange(path: string): Promise<string | undefined> {
  let links = 0
  const left = resolve(path).split(sep).filter(Boolean)
  let at = '/'
  for (let name: string | undefined = ''; name !== undefined; name = left.shift()) {
    const here = join(at, name)
    const stats = await lstatIfThere(here)
    if (stats === undefined) return undefined
    const who = changerOf(here, stats, { isLast: left.length === 0 })
    if (who !== undefined) return who
    if (!stats.isSymbolicLink()) {
      at = here
      continue
    }
    links += 1
    if (links > maxLinks) return `whoever made the links at ${here}`
    const target = resolve(dirname(here), await readlink(here))
    left.unshift(...target.split(sep).filter(Boolean))
    at = '/'
  }
  return undefined
}

function changerOf(
  path: string,
  stats: Stats,
  { isLast }: { readonly isLast: boolean },
): string | undefined {
  const { uid, gid, mode } = stats
  if (!isTrusted(uid)) return `user ${uid}, who owns ${path},`
  if (stats.isSymbolicLink()) return undefined
  if ((mode & othersMayWrite) === 0 || (!isLast && (mode & sticky) !== 0)) return undefined
  return (mode & 0o002) === 0
    ? `group ${gid}, which may write ${path},`
    : `anybody, who may write ${path},`
}

/** Whether this user can do whatever we can. */
export function isTrusted(uid: number): boolean {
  return uid === 0 || uid === process.geteuid?.()
}

async function lstatIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined
    throw error
  }
}
