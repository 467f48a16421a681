import { type Daemon } from '../../compose/commands.js'
import { type Lifetime } from '../../compose/lifetime.js'
import { type Config } from '../../domain/settings/config.js'
import { AddressError } from '../../domain/errors.js'
import { type Logger } from '../../usecase/ports/logger.js'
import { controlOf } from './control.js'
import { serveHealth } from './health-server.js'
import { serveSocketFile } from './socket-file.js'
import { statusSocket } from './status-socket.js'

/** Answers `tsreplicate status`, and the network if the configuration wants it. Both end with the lifetime. */
export async function serveDaemon(
  { addr, socket, source, databases }: Config,
  daemon: Daemon,
  { logger, lifetime }: { readonly logger: Logger; readonly lifetime: Lifetime },
): Promise<void> {
  const { report, metrics, replication } = daemon
  const local = { report, metrics, control: controlOf(replication) }
  if (addr !== undefined) {
    const { port = addr.port } = lifetime.add(await serveHealth(addr, { report, metrics }))
    const host = addr.host.includes(':') ? `[${addr.host}]` : addr.host
    logger.info({ url: `http://${host}:${port}/metrics` }, 'serving metrics on')
  }
  if (socket !== undefined) {
    lifetime.add(await serveSocketFile(socket, local))
    logger.info({ socket: socket.path }, 'answering tsreplicate status on')
  }
  const subject = source === undefined ? { database: databases[0]?.path ?? '' } : { config: source }
  try {
    lifetime.add(await serveHealth(statusSocket(subject), local))
  } catch (err) {
    if (!(err instanceof AddressError)) throw err
    logger.warn(
      { hint: 'is another daemon running with the same configuration?' },
      '`tsreplicate status` is answered by another process',
    )
  }
}
