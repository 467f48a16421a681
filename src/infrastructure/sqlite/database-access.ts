import { constants, type Stats } from 'node:fs'
import { access, readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseError } from '../../domain/errors.js'
import { codeOf } from '../../kit/error-text.js'

const cure =
  'run tsreplicate as the owner of the database, or give both users a group that can write the database (mode 0660) and its folder, and set the setgid bit of the folder (chmod g+s), so that new files get that group'

/**
 * SQLite creates `-wal` and `-shm` beside a database whenever it is opened and they are not there, with the mode of the
 * database, but for whoever opens it first. If that were us, and the application could not write them, it could not write
 * its database any more. So it is refused before anything is created. Resolves where there is no database.
 */
export async function refuseForeignDatabase(path: string): Promise<void> {
  const facts = await factsOf(path)
  if (facts === undefined) return
  for (const file of [path, `${path}-wal`, `${path}-shm`]) {
    const existing = await factsOf(file)
    if (existing !== undefined) await refuseUnwritable(file, existing)
  }
  const beside = await Promise.all(['-wal', '-shm'].map((suffix) => factsOf(path + suffix)))
  if (beside.every((file) => file !== undefined)) return
  const folder = dirname(path)
  const folderFacts = await factsOf(folder)
  if (folderFacts === undefined) return
  await refuseUnwritable(folder, folderFacts)
  if (await isWritableForOwner(facts, folderFacts)) return
  throw new DatabaseError(
    `the application could not write ${path}-wal if ${us()} created it: ${path} has ${describe(facts)}, and new files in its folder do not get the group of the folder`,
    { hint: isRoot() ? `${cure}; or leave root the right to give files away (CAP_CHOWN)` : cure },
  )
}

function isRoot(): boolean {
  return process.geteuid?.() === 0
}

/** Whether who owns the database could write a file with its mode that we create in its folder. */
async function isWritableForOwner(facts: Stats, folder: Stats): Promise<boolean> {
  if (process.geteuid?.() === facts.uid) return true
  // Files of root are given by SQLite to the owner of the database.
  if (isRoot() && (await mayGiveAway())) return true
  const group = (folder.mode & 0o2000) === 0 ? process.getegid?.() : folder.gid
  return (facts.mode & 0o002) !== 0 || ((facts.mode & 0o020) !== 0 && group === facts.gid)
}

/** Whether root has that right still (CAP_CHOWN): containers, and units, can take it away. */
async function mayGiveAway(): Promise<boolean> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '')
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1]
  return effective === undefined || (BigInt(`0x${effective}`) & 1n) === 1n
}

async function refuseUnwritable(path: string, facts: Stats): Promise<void> {
  try {
    await access(path, constants.W_OK)
  } catch (error) {
    const code = codeOf(error) ?? String(error)
    // The application, which closed the database, has removed it meanwhile.
    if (code === 'ENOENT') return
    const why = code === 'EACCES' ? '' : ` (${code})`
    throw new DatabaseError(`${us()} cannot write ${path}, which has ${describe(facts)}${why}`, {
      cause: error,
      hint: cure,
    })
  }
}

function us(): string {
  const groups = process.getgroups?.().join(', ')
  return `user ${process.geteuid?.()} (groups ${groups})`
}

function describe({ mode, uid, gid }: Stats): string {
  return `mode ${(mode & 0o7777).toString(8).padStart(4, '0')}, owner ${uid} and group ${gid}`
}

async function factsOf(path: string): Promise<Stats | undefined> {
  return stat(path).catch(() => undefined)
}
