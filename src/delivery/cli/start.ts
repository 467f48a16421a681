/** What comes before all else is loaded, which takes some tenths of a second. */
import { holdSignals } from '../daemon/early-signals.js'
import { becomeInit } from './init-process.js'

/** Runs a command line and returns the exit code of the process. */
export async function start(argv: readonly string[]): Promise<number> {
  if (argv[0] === 'replicate') {
    holdSignals()
    if (process.pid === 1) becomeInit()
  }
  const { main } = await import('./main.js')
  return main(argv)
}
