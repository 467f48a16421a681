import { listDatabases } from '../../../compose/commands.js'
import { exitCodes } from '../../exit-codes.js'
import { defineCommand } from '../command.js'
import { readConfig } from '../context.js'
import { configFlags, jsonFlag } from '../flags.js'
import { print, printJson } from '../output.js'
import { formatTable } from '../table.js'

export const databases = defineCommand({
  name: 'databases',
  summary: 'lists the databases of the configuration',
  about: 'Lists the databases of the configuration, and the names of their replicas.',
  example: 'tsreplicate databases',
  flags: { ...configFlags, ...jsonFlag },
  exitCodes: { failed: 'a folder of databases cannot be read' },
  // What cannot be read does not hide the rest.
  async run(_, flags) {
    const { config, logger } = await readConfig(flags)
    for (const warning of config.warnings) logger.warn({ config: config.source }, warning)
    const { databases: listed, unreadable } = await listDatabases(config)
    for (const folder of unreadable) logger.error({ ...folder }, 'folder cannot be read')
    const rows = listed.map(({ path, replicas }) => ({
      path,
      replicas: replicas.map(({ name }) => name),
    }))
    if (flags.json) printJson(rows)
    else
      print(
        formatTable(
          ['path', 'replicas'],
          rows.map((r) => [r.path, r.replicas.join(',')]),
        ),
      )
    return unreadable.length === 0 ? exitCodes.done.code : exitCodes.failed.code
  },
})
