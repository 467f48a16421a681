/**
 * The end of a process that does not end by itself. It is the exception: whoever has made something disposes of it, and
 * then nothing keeps the process alive.
 */
import { existsSync } from 'node:fs'

/** What is left after the end of the work may take this long to end. */
export const leftoverMs = 5000
const shell = '/bin/sh'

/**
 * Ends the process at once, whatever its threads do. `process.exit` waits for those that hang in the operating system, as
 * with a disk that does not answer; another program in the place of ours ends them.
 */
export function exitAtOnce(code: number): never {
  // The last to hear of it: the log writes what waits to be written before.
  process.once('exit', () => {
    if (existsSync(shell)) process.execve?.(shell, ['sh', '-c', `exit ${code}`], {})
  })
  process.exit(code)
}

/** Ends it when something still keeps it alive some seconds from now. The timer, which is returned, does not. */
export function exitIfHanging(code: number, sayWhy: () => Promise<void> | void): NodeJS.Timeout {
  const exit = async (): Promise<void> => {
    await sayWhy()
    exitAtOnce(code)
  }
  return setTimeout(() => void exit(), leftoverMs).unref()
}
