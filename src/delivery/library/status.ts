/** How a running daemon is, for a program. */
import { expandPath } from '../../compose/commands.js'
import { type DaemonStatus } from '../../domain/status.js'
import { never } from '../../kit/abort.js'
import { defaultStatusTimeoutMs, readDaemonStatus } from '../daemon/daemon-status.js'
import { possibleDaemons } from '../daemon/possible-daemons.js'
import { checkOptions, path, type RulesOf, signal, timeoutMs } from './options.js'

/** Which daemon is asked, and how long. Undefined is the default. */
export interface StatusOptions {
  /**
   * The path of a database: of it alone is told, and a daemon is asked, too, or the engine of an application, that was started with
   * that path and URLs.
   */
  readonly database?: string | undefined
  /** The configuration file of the daemon; by default LITESTREAM_CONFIG, `/etc/tsreplicate.yml` or `/etc/litestream.yml`. */
  readonly config?: string | undefined
  /** The socket file that the daemon was told to make (`socket`), and nothing else. */
  readonly socket?: string | undefined
  /** Milliseconds until an answer is given up; by default 10,000. */
  readonly timeoutMs?: number | undefined
  /** Ends the wait for the answer. */
  readonly signal?: AbortSignal | undefined
}

const rules: RulesOf<StatusOptions> = {
  database: path,
  config: path,
  socket: path,
  timeoutMs,
  signal,
}

/**
 * Asks the daemon of this machine how it is, as `tsreplicate status` does: a daemon of this user or of root, or the engine of an
 * application. Resolves with what is captured and stored, and what is not in time (`notReady`); times are milliseconds since 1970. The
 * daemon may be of another version, which `version` says. Rejects with `NotRunningError` when none answers, or not in time;
 * `ConfigError` where no configuration file is found and no database named, and for a database that it does not replicate;
 * `UsageError` for options that are wrong; and the signal's reason at an abort.
 */
export async function status(options: StatusOptions = {}): Promise<DaemonStatus> {
  const {
    config,
    socket,
    timeoutMs: limitMs = defaultStatusTimeoutMs,
    signal: stop = never,
    ...named
  } = checkOptions(options, { of: 'status', rules })
  const database = named.database === undefined ? undefined : await expandPath(named.database)
  return readDaemonStatus(
    await possibleDaemons(database, { config, socket, noExpandEnv: false }),
    { database, timeoutMs: limitMs },
    stop,
  )
}
