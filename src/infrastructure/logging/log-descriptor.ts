/**
 * How a descriptor is written to without ever waiting for whoever reads it. Whether a write waits is a property that all
 * processes share which have the descriptor: set on ours, it would make the writes of a program of `exec` fail.
 */
import { spawn } from 'node:child_process'
import { constants, fstatSync, openSync, readFileSync, writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { type LogSink } from './log-output.js'

/** How long the end of the process waits until what was given to another one is written. */
const relayEndMs = 200

/** `isShared`: another program writes to it, too. */
export function openLogDescriptor(descriptor: 1 | 2, isShared: boolean): LogSink {
  const stats = fstatSync(descriptor)
  const isTerminal = isatty(descriptor)
  if (!stats.isFIFO() && !stats.isSocket() && !isTerminal) return writesTo(descriptor)
  const own = stats.isSocket() ? undefined : openAnew(descriptor)
  if (own !== undefined) return writesTo(own)
  // A terminal of another user: only its user holds it up.
  if (isTerminal) return writesTo(descriptor)
  return isShared ? through('cat', descriptor) : neverWaiting(descriptor)
}

function writesTo(descriptor: number): LogSink {
  return { write: (bytes) => writeSync(descriptor, bytes), end: () => undefined }
}

/** The same pipe or terminal, opened for us alone; undefined: it is another user's, or cannot be opened. */
function openAnew(descriptor: number): number | undefined {
  try {
    const flags = constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY
    return openSync(`/proc/self/fd/${descriptor}`, flags)
  } catch {
    return undefined
  }
}

function neverWaiting(descriptor: 1 | 2): LogSink {
  // Node makes it so when it is first asked for its stream, and undoes it at the end.
  const { fd } = descriptor === 1 ? process.stdout : process.stderr
  return writesTo(fd)
}

/** Whether a process of ours has not ended yet, which nobody has been told of so far. */
function runs(pid: number | undefined): boolean {
  try {
    return pid !== undefined && !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

/** In the last moments of the process, when no timer runs any more. */
function pause(forMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, forMs)
}

/** Through a process that may wait. It ends when we do, and with no signal to our group. */
function through(relay: string, descriptor: 1 | 2): LogSink {
  const child = spawn(relay, [], {
    stdio: ['pipe', descriptor, 'ignore'],
    detached: true,
    cwd: '/',
  })
  const { stdin } = child
  let instead = stdin === null ? neverWaiting(descriptor) : undefined
  child.on('error', () => (instead ??= neverWaiting(descriptor)))
  stdin?.on('error', () => undefined)
  child.unref()
  // What waits to be written to it would keep us alive. Where we end, a container or systemd ends what is left of us.
  const end = (): void => {
    if (stdin?.destroyed !== false) return
    stdin.destroy()
    const untilMs = performance.now() + relayEndMs
    while (runs(child.pid) && performance.now() < untilMs) pause(2)
  }
  process.once('exit', end)
  return {
    write(bytes) {
      if (stdin?.destroyed !== false) instead ??= neverWaiting(descriptor)
      if (instead !== undefined || stdin === null) return instead?.write(bytes) ?? 0
      if (stdin.writableLength > 0) return 0
      stdin.write(bytes)
      return bytes.length
    },
    end,
  }
}
