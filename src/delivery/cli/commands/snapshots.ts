import { listSnapshots } from '../../../usecase/stored/list-backups.js'
import { defineCommand } from '../command.js'
import { configFlags, jsonFlag, replicaFlag, subjectArguments } from '../flags.js'
import { columnsOf, openSubjectOf, show } from '../listing.js'
import { formatTime } from '../table.js'

export const snapshots = defineCommand({
  name: 'snapshots',
  summary: 'lists the snapshots of a database',
  about: 'Lists the snapshots on each replica, with their sizes and times.',
  example: 'tsreplicate snapshots file:///backup/app',
  arguments: subjectArguments,
  flags: { ...configFlags, ...replicaFlag, ...jsonFlag },
  async run([subject], flags, { signal }) {
    return show(await openSubjectOf(subject, flags, 'database path required'), flags, {
      complaint: 'cannot determine snapshots',
      list: async ({ name, client }) => {
        const found = await listSnapshots(client, signal)
        return found.map(({ generation, index, sizeBytes, createdAtMs }) => ({
          replica: name,
          generation,
          index,
          size: sizeBytes,
          created: formatTime(createdAtMs),
        }))
      },
      columns: columnsOf('replica', 'generation', 'index', 'size', 'created'),
    })
  },
})
