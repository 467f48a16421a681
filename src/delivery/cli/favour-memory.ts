import { accessSync, constants } from 'node:fs'

/** Majors of Node that have all these flags. Others would refuse to start. */
const knownNodes = new Set([22, 24])

/** For a process that runs for long and does little. V8 heeds most of them only from its start on. */
const flags = [
  // Code is optimized when it has run ten times as much: an idle daemon never needs the compilers, whose 8 MB of code are
  // resident once they have run. A loop that is hot, as over a WAL at full speed, still gets there within its first second.
  '--no-maglev',
  '--invocation-count-for-turbofan=30000',
  '--invocation-count-for-osr=5000',
  // What a daemon allocates is short-lived.
  '--max-semi-space-size=1',
  // Of V8's own threads: there is little to collect.
  '--v8-pool-size=1',
]

/**
 * Executes the program anew with flags for V8, in the same process, which takes as long as Node to start. It does not return
 * then. Whoever gives Node flags of his own keeps them.
 */
export function favourMemory(): void {
  const { execArgv, execPath, argv, versions } = process
  if (execArgv.length > 0 || process.execve === undefined) return
  if (!knownNodes.has(Number.parseInt(versions.node, 10))) return
  try {
    // A failure to execute it would end the process.
    accessSync(execPath, constants.X_OK)
    process.execve(execPath, [execPath, ...flags, ...argv.slice(1)])
  } catch {
    // It goes on with more memory.
  }
}
