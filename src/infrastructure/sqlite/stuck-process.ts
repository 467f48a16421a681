/**
 * Whether a process gets on with what it works on. What lies under the name of a database can be exchanged for a FIFO, or its
 * owner has a lease of it, and who opens it then waits: nothing is read or written by then, and nobody computes that long.
 * A disk that does not answer is waited for in another state, which nothing ends, and is nobody's fault.
 */
import { readFileSync } from 'node:fs'
import { readUnderWay, nothing } from './under-way.js'

/** Looks, not time: a machine that slept, or a process that was stopped with us, has lost none. */
const lookMs = 1000
/** The calls of the slowest disk read or write more often, or wait for it. */
const maxIdleLooks = 30

interface Watched {
  readonly pid: number
  /** Where it says what it works on. */
  readonly underWay: number
}

/** Calls `stuck` once it has not got on for so long. Ends when it is disposed of. */
export function watchForStuck(
  { pid, underWay }: Watched,
  stuck: (why: Error) => void,
  { everyMs = lookMs }: { readonly everyMs?: number } = {},
): Disposable {
  let before: string | undefined
  let looks = 0
  const timer = setInterval(() => {
    const database = readUnderWay(underWay)
    const now = database === nothing ? undefined : progressOf(pid)
    looks = now === undefined || now !== before ? 0 : looks + 1
    before = now
    if (looks < maxIdleLooks) return
    clearInterval(timer)
    stuck(new Error(`it neither read nor wrote for ${(maxIdleLooks * everyMs) / 1000} s`))
  }, everyMs).unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

/** Another text when it has got on. Undefined: nobody can tell, or it waits for a disk. */
function progressOf(pid: number): string | undefined {
  try {
    // What is behind the name, which may have anything in it: ") S 1 …".
    const state = /\) (\w) [^)]*$/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1]
    return state === 'D' ? undefined : readFileSync(`/proc/${pid}/io`, 'utf8')
  } catch {
    return undefined
  }
}
