/**
 * Where the local state of a database lies. As root it lies where only root writes: beside the database, if nobody else can
 * change that folder; else below a folder for all of them, at the same path. Whoever can change what root writes there could make
 * it overwrite, delete or read anything.
 */
import { access, constants, lstat, realpath, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { InUseError, LocalStateError } from '../../domain/errors.js'
import { type KnownDatabase } from '../../domain/settings/known-database.js'
import { createFolder } from '../files/durable-files.js'
import { HeldFolder, isTaken } from '../files/held-folder.js'
import { isTrusted, whoCanChange } from '../files/who-can-change.js'
import { type AdoptOptions, adoptState } from './adopt-state.js'
import { orLocalStateError } from './local-state-errors.js'

interface StatePlace {
  readonly path: string
  /** Where it was before, which others can change; undefined: nowhere else. */
  readonly former: string | undefined
}

type Configured = Pick<KnownDatabase, 'metaPath' | 'stateBase'>

async function findStatePlace({ metaPath, stateBase }: Configured): Promise<StatePlace> {
  const beside = { path: metaPath, former: undefined }
  if (process.geteuid?.() !== 0 || stateBase === undefined) return beside
  const folder = dirname(metaPath)
  const realFolder = await realpath(folder).catch(() => folder)
  const path = join(stateBase, realFolder, basename(metaPath))
  const isBeside = !(await isTaken(path)) && (await whoCanChange(folder)) === undefined
  return isBeside ? beside : { path, former: join(realFolder, basename(metaPath)) }
}

/** The folder of the local state of a database. */
export async function findState(configured: Configured): Promise<string> {
  return (await findStatePlace(configured)).path
}

/**
 * Sees to it that the local state is in its place, and ours alone. What was elsewhere, or was given to another user, is taken
 * over as far as it is what it should be, and nobody uses it: that is an `InUseError`. Returns its place, and where it was if it
 * has just been moved.
 */
export async function settleState(
  configured: Configured,
  options: AdoptOptions,
): Promise<{ readonly path: string; readonly movedFrom: string | undefined }> {
  const { path, former } = await findStatePlace(configured)
  if (process.geteuid?.() !== 0) {
    await refuseForeignLink(path)
    await refuseForeignState(path)
    return { path, movedFrom: undefined }
  }
  const movedFrom = await orLocalStateError(`take over the local state in ${path}`, async () => {
    // The folder of a database that is still to come is not ours to create.
    if (former !== undefined) await createFolder(dirname(path))
    const who = await whoCanChange(dirname(path))
    if (who !== undefined) {
      throw new LocalStateError(`the local state cannot be in ${path}: ${who} could change it`, {
        hint: 'name a folder as meta-path (or state-path) that only root can write, as all those above it',
      })
    }
    if (await isOurs(path)) return undefined
    const from = (await isTaken(path)) ? path : former
    if (from === undefined) return undefined
    const isAdopted = await adoptState({ from, to: path }, options)
    return isAdopted && from !== path ? from : undefined
  })
  return { path, movedFrom }
}

/** What we would make, and remove, behind a link of somebody else would be where he wants it. */
async function refuseForeignLink(path: string): Promise<void> {
  for (const at of [path, join(path, 'spool')]) {
    const stats = await lstat(at).catch(() => undefined)
    if (stats?.isSymbolicLink() !== true || isTrusted(stats.uid)) continue
    throw new LocalStateError(
      `the local state cannot be in ${path}: ${at} is a link of user ${stats.uid}`,
      { hint: 'remove the link, or name a folder as meta-path that nobody else can write' },
    )
  }
}

/** What another user keeps to himself is his who replicates the database, or has done so. */
async function refuseForeignState(path: string): Promise<void> {
  const stats = await lstat(path).catch(() => undefined)
  if (stats?.isDirectory() !== true || stats.uid === process.geteuid?.()) return
  const mayUse = await access(path, constants.R_OK | constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  )
  if (mayUse) return
  throw new InUseError(
    `the local state in ${path} belongs to user ${stats.uid}, who replicates the database or has done so, and whom user ${process.geteuid?.()} cannot ask: run both as one user`,
    { hint: 'or stop that process, and give its local state to this user (chown -R)' },
  )
}

/** Whether nothing is mounted where this state lies: in a container, it goes with the container. */
export async function isInRootFileSystem(path: string): Promise<boolean> {
  return (await stat(dirname(path))).dev === (await stat('/')).dev
}

/** Whether a folder is there that only we can have filled. */
async function isOurs(path: string): Promise<boolean> {
  await using folder = await HeldFolder.open(path)
  if (folder === undefined) return false
  const { uid, mode } = await folder.handle.stat()
  if (!isTrusted(uid) || (mode & 0o022) !== 0) return false
  await folder.handle.chmod(0o700)
  return true
}
