/** What may lie beside a database: nothing that somebody else has put there. */
import { type Stats } from 'node:fs'
import { DatabaseError } from '../../domain/errors.js'
import { type FileRights } from '../files/ownership.js'

/** Throws a {@link DatabaseError} unless `stats` of what is beside a database are of a file of whoever may write that. */
export function refuseForeignOwner(
  path: string,
  stats: Pick<Stats, 'uid' | 'gid'>,
  { uid, gid, mode }: FileRights,
): void {
  const mayWrite = (mode & 0o002) !== 0 || ((mode & 0o020) !== 0 && stats.gid === gid)
  if (stats.uid === uid || mayWrite) return
  throw new DatabaseError(`${path} belongs to user ${stats.uid}, and the database to user ${uid}`, {
    hint: `stop the application, and give it to user ${uid} (chown)`,
  })
}
