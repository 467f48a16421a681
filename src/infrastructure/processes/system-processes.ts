/** Processes as Linux shows them under /proc; elsewhere only their numbers are told apart. */
import { readFile, readlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { isSameProcess, type ProcessIdentity } from '../../domain/process-identity.js'
import { type Processes } from '../../usecase/ports/processes.js'
import { listLocks } from '../files/kernel-locks.js'
import { isAlive } from '../files/process-lives.js'
import { isListed, takeLifeLock } from './life-lock.js'

/** The namespace of the processes of a machine that are in no container (PROC_PID_INIT_INO of Linux). */
const outermostNamespace = 'pid:[4026531836]'

/** This process. Looked at once; it has no lock of the kernel's unless it is given one. */
export async function describeSelf({ lock } = { lock: '' }): Promise<ProcessIdentity> {
  const pidNamespace = await readlink('/proc/self/ns/pid').catch(() => '')
  return {
    host: hostname(),
    machine: await readText('/etc/machine-id'),
    boot: await readText('/proc/sys/kernel/random/boot_id'),
    pidNamespace,
    isContained: pidNamespace !== '' && pidNamespace !== outermostNamespace,
    pid: process.pid,
    startTicks: (await startTicksOf(process.pid)) ?? '',
    lock,
    startedAtMs: Math.round(performance.timeOrigin),
  }
}

/** This process, with a lock by which others know that it lives; what others do is looked up each time. */
export async function openSystemProcesses(): Promise<Processes & Disposable> {
  const lock = await takeLifeLock()
  const self = await describeSelf({ lock: lock.name })
  return {
    self,
    stateOf: (other) => stateOf(self, other),
    [Symbol.dispose]: () => {
      lock[Symbol.dispose]()
    },
  }
}

async function stateOf(
  self: ProcessIdentity,
  other: ProcessIdentity,
): Promise<'alive' | 'ended' | 'unknown'> {
  if (isSameProcess(self, other)) return 'alive'
  const isSeen =
    other.boot === self.boot &&
    other.pidNamespace === self.pidNamespace &&
    // Where the start of a machine has no name, only its own can tell.
    (self.boot !== '' || other.host === self.host)
  if (!isSeen) return 'unknown'
  if (!isAlive(other.pid)) return 'ended'
  const startTicks = await startTicksOf(other.pid)
  if (startTicks === 'dead') return 'ended'
  if (startTicks !== undefined && other.startTicks !== '' && startTicks !== other.startTicks) {
    return 'ended'
  }
  const locks = await listLocks()
  // Elsewhere the number has to do.
  if (locks === undefined) return 'alive'
  if (other.lock === '') return 'unknown'
  return isListed({ name: other.lock, pid: other.pid }, locks) ? 'alive' : 'ended'
}

/** When the process was started; `dead` if it only waits to be buried, undefined where that cannot be told. */
async function startTicksOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  if (stat === undefined) return undefined
  // The second field is the program's name, which may hold blanks and parentheses; the third is the state.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' || fields[0] === 'X' ? 'dead' : fields[19]
}

async function readText(path: string): Promise<string> {
  return (await readFile(path, 'utf8').catch(() => '')).trim()
}
