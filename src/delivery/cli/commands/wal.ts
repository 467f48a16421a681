import { UsageError } from '../../../domain/errors.js'
import { parseGeneration } from '../../../domain/wal/generation.js'
import { listWalSegments } from '../../../usecase/stored/list-backups.js'
import { defineCommand } from '../command.js'
import { configFlags, jsonFlag, replicaFlag, subjectArguments } from '../flags.js'
import { columnsOf, openSubjectOf, show } from '../listing.js'
import { formatTime } from '../table.js'

export const wal = defineCommand({
  name: 'wal',
  summary: 'lists the WAL segments of a database',
  about: 'Lists the WAL segments on each replica, with their sizes and times.',
  example: 'tsreplicate wal file:///backup/app',
  arguments: subjectArguments,
  flags: {
    ...configFlags,
    ...replicaFlag,
    ...jsonFlag,
    generation: { value: 'name', description: 'only this generation' },
  },
  async run([subject], flags, { signal }) {
    const only = flags.generation === undefined ? undefined : parseGeneration(flags.generation)
    if (flags.generation !== undefined && only === undefined) {
      throw new UsageError(`not a generation: ${flags.generation}`)
    }
    return show(await openSubjectOf(subject, flags, 'database path required'), flags, {
      complaint: 'cannot fetch wal segments',
      list: async ({ name, client }) => {
        const found = await listWalSegments(client, only, signal)
        return found.map(({ generation, index, offset, sizeBytes, createdAtMs }) => ({
          replica: name,
          generation,
          index,
          offset,
          size: sizeBytes,
          created: formatTime(createdAtMs),
        }))
      },
      columns: columnsOf('replica', 'generation', 'index', 'offset', 'size', 'created'),
    })
  },
})
