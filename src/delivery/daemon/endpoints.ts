import { type Daemon } from '../../compose/commands.js'
import { type Owner } from '../../compose/owner.js'
import { type Config } from '../../domain/settings/config.js'
import { AddressError } from '../../domain/errors.js'
import { type Logger } from '../../usecase/ports/logger.js'
import { serveHealth } from './health-server.js'
import { statusSocket } from './status-socket.js'

/** Answers `tsreplicate status`, and the network if the configuration wants it. Both are the owner's. */
export async function serveDaemon(
  { addr, source, databases }: Config,
  daemon: Daemon,
  { logger, owner }: { readonly logger: Logger; readonly owner: Owner },
): Promise<void> {
  if (addr !== undefined) {
    const { port = addr.port } = owner.owns(await serveHealth(addr, daemon))
    const host = addr.host.includes(':') ? `[${addr.host}]` : addr.host
    logger.info({ url: `http://${host}:${port}/metrics` }, 'serving metrics on')
  }
  const subject = source === undefined ? { database: databases[0]?.path ?? '' } : { config: source }
  try {
    owner.owns(await serveHealth(statusSocket(subject), daemon))
  } catch (err) {
    if (!(err instanceof AddressError)) throw err
    logger.warn(
      { hint: 'is another daemon running with the same configuration?' },
      '`tsreplicate status` is answered by another process',
    )
  }
}
