/** What comes before all else is loaded, which takes some tenths of a second, and after all else is done. */
import { Lifetime } from '../../compose/lifetime.js'
import { holdSignals } from '../daemon/early-signals.js'
import { exitIfHanging } from '../forced-exit.js'
import { favourMemory, favourMemoryFromNowOn } from './favour-memory.js'
import { becomeInit } from './init-process.js'
import { complain } from './output.js'

/** Runs a command line and returns the exit code of the process, which ends by itself: nothing is left that runs. */
export async function start(argv: readonly string[]): Promise<number> {
  if (argv[0] === 'replicate') {
    if (process.pid === 1) becomeInit()
    favourMemory()
    holdSignals()
  } else favourMemoryFromNowOn()
  const { main } = await import('./main.js')
  await using lifetime = new Lifetime()
  const exitCode = await main(argv, lifetime)
  exitIfHanging(exitCode, () => {
    complain('tsreplicate: something hangs in the operating system, exiting without it')
  })
  return exitCode
}
