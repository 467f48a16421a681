import { monitorEventLoopDelay } from 'node:perf_hooks'

import { isAbortError } from '../domain/errors.js'
import { type Logger } from '../usecase/ports/logger.js'
import { type NotStored, type Replication } from '../usecase/replicate.js'

const exitNotStored = 74
const exitInterrupted = 130
const afterKillMs = 5000
/** Who passes a signal on to a process that has it already (npx, timeout) makes it arrive twice. */
const sameSignalMs = 300

/**
 * Runs until SIGINT or SIGTERM, then stores what is captured for at most `shutdownTimeoutMs`; a second signal ends the
 * process at once. Returns the exit code.
 */
export async function runDaemon(
  replication: Replication,
  options: { readonly logger: Logger; readonly shutdownTimeoutMs: number },
): Promise<number> {
  const { logger, shutdownTimeoutMs } = options
  const stop = new AbortController()
  const kill = new AbortController()
  let stoppedMs = 0
  let deadline: NodeJS.Timeout | undefined
  const delay = monitorEventLoopDelay({ resolution: 20 })
  delay.enable()

  const onSignal = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) {
      if (performance.now() - stoppedMs < sameSignalMs) return
      logger.warn({ signal }, 'second signal received, ending at once')
      kill.abort()
      process.exit(exitInterrupted)
    }
    logger.info({ signal }, 'signal received, tsreplicate shutting down')
    stoppedMs = performance.now()
    stop.abort()
    deadline = setTimeout(() => {
      logger.error({ 'shutdown-timeout-ms': shutdownTimeoutMs }, 'shutdown timeout reached')
      kill.abort()
      // Whatever hangs in the operating system must not outlive the timeout.
      setTimeout(() => {
        logger.error({}, 'still busy after the shutdown timeout, ending at once')
        process.exit(exitNotStored)
      }, afterKillMs).unref()
    }, shutdownTimeoutMs)
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  try {
    const notStored = await run(replication, stop.signal, kill.signal)
    for (const { database, replica, detail } of notStored) {
      logger.error({ db: database, replica, detail }, 'not stored')
    }
    if (notStored.length === 0 && !kill.signal.aborted) {
      logger.info({}, 'tsreplicate shut down')
      return 0
    }
    return exitNotStored
  } finally {
    clearTimeout(deadline)
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
    delay.disable()
    logger.debug(
      {
        'loop-delay-p99-ms': delay.percentile(99) / 1e6,
        'loop-delay-max-ms': delay.max / 1e6,
        'rss-peak-bytes': process.resourceUsage().maxRSS * 1024,
      },
      'resources used',
    )
  }
}

/** An abort is the end that was asked for: what is missing then is told by the exit code. */
async function run(
  replication: Replication,
  stop: AbortSignal,
  kill: AbortSignal,
): Promise<readonly NotStored[]> {
  try {
    return await replication.run(stop, kill)
  } catch (error) {
    if (kill.aborted && isAbortError(error)) return []
    throw error
  }
}
