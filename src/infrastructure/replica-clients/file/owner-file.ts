/**
 * The owner object in a folder. File systems have no "replace it if it is still this one", but they let only one of
 * several create a name: so each version is a file of its own, `tsreplicate-owner.<ordinal>.json`, and who creates the
 * next one has replaced the one before. The highest counts.
 */
import { constants, copyFile, link, rm } from 'node:fs/promises'
import { ownerObjectName } from '../../../domain/stored/replica-layout.js'
import { codeOf } from '../../../kit/error-text.js'
import { type HeldFolder } from '../../files/held-folder.js'
import { readSmallFile } from '../../files/regular-files.js'
import { type OwnerObject } from '../../../usecase/ports/replica-client.js'

const [base, extension] = ownerObjectName.split('.')
const pattern = new RegExp(`^${base}\\.([1-9][0-9]{0,14})\\.${extension}$`)
/** How often the file of the highest ordinal may be replaced while it is being opened. */
const attempts = 100

/** The name of the file of one version. */
export function ownerFileName(ordinal: number): string {
  return `${base}.${ordinal}.${extension}`
}

/** Whether `name` is that of a version. */
export function isOwnerFile(name: string): boolean {
  return pattern.test(name)
}

/** The newest version; undefined if there is none. */
export async function readOwnerFile(root: HeldFolder): Promise<OwnerObject | undefined> {
  for (let attempt = 1; ; attempt += 1) {
    const newest = Math.max(...(await listOrdinals(root)))
    if (newest === -Infinity) return undefined
    try {
      const content = await readSmallFile(root.at(ownerFileName(newest)))
      return { content, version: String(newest) }
    } catch (error) {
      // The next one has just taken its place.
      if (codeOf(error) !== 'ENOENT' || attempt === attempts) throw error
    }
  }
}

/** Makes a written file the version `ordinal`. False: there is one already, or a higher one. */
export async function linkOwnerFile(
  root: HeldFolder,
  { ordinal, temporaryName }: { readonly ordinal: number; readonly temporaryName: string },
): Promise<boolean> {
  const path = root.at(ownerFileName(ordinal))
  try {
    await linkOrCopy(root.at(temporaryName), path)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  }
  const others = (await listOrdinals(root)).filter((other) => other !== ordinal)
  // Ordinals below the newest are removed, so that this one may have been free because it is long over.
  if (others.some((other) => other > ordinal)) {
    await rm(path, { force: true })
    return false
  }
  for (const other of others) await rm(root.at(ownerFileName(other)), { force: true })
  return true
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    // Some file systems know no second name for a file. A copy can be cut short by a crash: then nobody owns it.
    const code = codeOf(error)
    if (code === undefined || !['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(code))
      throw error
    await copyFile(from, to, constants.COPYFILE_EXCL)
  }
}

async function listOrdinals(root: HeldFolder): Promise<number[]> {
  return (await root.names()).flatMap((name) => {
    const match = pattern.exec(name)
    return match?.[1] === undefined ? [] : [Number(match[1])]
  })
}
