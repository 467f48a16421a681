import { stat } from 'node:fs/promises'
import { listGenerations } from '../../../usecase/stored/list-backups.js'
import { defineCommand } from '../command.js'
import { configFlags, jsonFlag, replicaFlag, subjectArguments } from '../flags.js'
import { openSubjectOf, show } from '../listing.js'
import { formatLag, formatTime } from '../table.js'

export const generations = defineCommand({
  name: 'generations',
  summary: 'lists the generations of a database',
  about:
    'Lists the generations on each replica. A generation is one unbroken history of the database; a new one starts when continuity cannot be proven.',
  example: 'tsreplicate generations file:///backup/app',
  arguments: subjectArguments,
  flags: { ...configFlags, ...replicaFlag, ...jsonFlag },
  async run([subject], flags, { signal }) {
    return show(await openSubjectOf(subject, flags), flags, {
      complaint: 'cannot list generations',
      list: async ({ name, client }, { databasePath }) => {
        const referenceMs = await lastChangeMs(databasePath)
        const found = await listGenerations(client, signal)
        return found.map(({ generation, startMs, endMs }) => ({
          name,
          generation,
          // A file's time and a store's are of two clocks: nothing is stored before it is committed.
          lagMs: endMs === undefined ? null : Math.max(0, Math.round(referenceMs - endMs)),
          start: startMs === undefined ? null : formatTime(startMs),
          end: endMs === undefined ? null : formatTime(endMs),
        }))
      },
      columns: {
        name: ({ name }) => name,
        generation: ({ generation }) => generation,
        lag: ({ lagMs }) => (lagMs === null ? emptyLag : formatLag(lagMs)),
        start: ({ start }) => start ?? emptyTime,
        end: ({ end }) => end ?? emptyTime,
      },
    })
  },
})

// What the original prints for a generation without objects.
const emptyLag = '2562047h47m16s'
const emptyTime = '0001-01-01T00:00:00Z'

/** When database or WAL last changed; without a database, now. */
async function lastChangeMs(databasePath: string | undefined): Promise<number> {
  if (databasePath === undefined) return Date.now()
  let newestMs = 0
  for (const path of [databasePath, `${databasePath}-wal`]) {
    try {
      newestMs = Math.max(newestMs, (await stat(path)).mtimeMs)
    } catch {
      // A database that is gone is when its backups are looked at most: the lag is then measured from now.
    }
  }
  return newestMs === 0 ? Date.now() : newestMs
}
