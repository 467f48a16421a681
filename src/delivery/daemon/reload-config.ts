import { checkConfig } from '../../compose/commands.js'
import { type Config, type DatabaseConfig } from '../../domain/settings/config.js'
import { hintOf } from '../../domain/errors.js'
import { sameSettings } from '../../domain/settings/same-settings.js'
import { never } from '../../kit/abort.js'
import { messageOf } from '../../kit/error-text.js'
import { type Logger } from '../../usecase/ports/logger.js'
import { type Replication } from '../../usecase/daemon/replicated-databases.js'

/**
 * What SIGHUP does: reads the configuration again and goes on with its databases. One with which the daemon could not
 * start changes nothing, and every problem in it is logged.
 */
export function reloadConfig(
  initial: Config,
  parts: {
    readonly load: () => Promise<Config>
    readonly replication: Pick<Replication, 'want' | 'databases'>
    readonly restoreMissing: (
      databases: readonly DatabaseConfig[],
      signal: AbortSignal,
    ) => Promise<unknown>
    readonly logger: Logger
  },
): () => Promise<void> {
  const { load, replication, restoreMissing, logger } = parts
  return async () => {
    const file = initial.source
    try {
      const config = await load()
      await checkConfig(config)
      const running = new Set(replication.databases.map((database) => database.config.path))
      const added = config.databases.filter(({ path }) => !running.has(path))
      await restoreMissing(added, never)
      for (const warning of config.warnings) logger.warn({ config: file }, warning)
      for (const key of unchangeable(initial, config)) {
        logger.warn({ config: file, key }, 'this key takes effect at the next start')
      }
      replication.want(config)
      logger.info({ config: file, databases: config.databases.length }, 'configuration reloaded')
    } catch (error) {
      const problems = messageOf(error).split('\n')
      const hint = hintOf(error)
      for (const problem of problems) {
        const fields = { config: file, problem, hint }
        logger.error(fields, 'configuration not reloaded, nothing has changed')
      }
    }
  }
}

const reloadedKeys = new Set(['source', 'databases', 'folders', 'warnings'])

/** The keys of the file that have changed and are read only at the start. */
function unchangeable(before: Config, now: Config): readonly string[] {
  const former = new Map<string, unknown>(Object.entries(before))
  return Object.entries(now)
    .filter(([key, value]) => !reloadedKeys.has(key) && !sameSettings(value, former.get(key)))
    .map(([key]) =>
      key.replace(/Ms$/, '').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    )
}
