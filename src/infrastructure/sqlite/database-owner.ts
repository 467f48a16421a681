/** Who can do with a database whatever he likes: the number of a user, or one of these. */
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type FileRights } from '../files/ownership.js'
import { isTrusted, whoCanChange } from '../files/who-can-change.js'

/** Root and we, nobody else. */
export const ourselves = -1
/** It belongs to one of us, and others can write to it, or put something in its place. */
const anybody = -2

/** Of a database file with these rights. `isInForeign`: others can change the folder in which it lies. */
export function ownerOf(
  { uid, mode }: Pick<FileRights, 'uid' | 'mode'>,
  isInForeign: boolean,
): number {
  if (!isTrusted(uid)) return uid
  // The group of an ordinary user is often his own.
  const othersMayWrite = isRoot() ? 0o022 : 0o002
  return isInForeign || (mode & othersMayWrite) !== 0 ? anybody : ourselves
}

/** Of the file or folder of that name, as far as it alone tells. Undefined: there is none. */
export async function findOwner(path: string): Promise<number | undefined> {
  const found = await stat(path).catch(() => undefined)
  return found === undefined ? undefined : ownerOf(found, false)
}

export async function isInForeignFolder(file: string): Promise<boolean> {
  return isRoot() && (await whoCanChange(dirname(file))) !== undefined
}

function isRoot(): boolean {
  return process.geteuid?.() === 0
}
