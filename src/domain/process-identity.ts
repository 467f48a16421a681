/** Which process somebody is, so that nobody takes it for another: neither for a later one of its number, nor for one elsewhere. */
export interface ProcessIdentity {
  readonly host: string
  /** The machine, across its restarts; empty where that cannot be told. */
  readonly machine: string
  /** This start of the machine; empty where that cannot be told. */
  readonly boot: string
  /** Whose numbers `pid` is one of: containers have their own. Empty where that cannot be told. */
  readonly pidNamespace: string
  /** Whether it is in a container: its processes are then not those that are seen outside. */
  readonly isContained: boolean
  readonly pid: number
  /** Ticks from the machine's start to the process's; empty where that cannot be told. */
  readonly startTicks: string
  /** The lock of the kernel's that it has for as long as it lives, as the kernel lists it; empty: none, or that cannot be told. */
  readonly lock: string
  readonly startedAtMs: number
}

export function isSameProcess(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return (
    a.pid === b.pid &&
    a.startTicks === b.startTicks &&
    a.pidNamespace === b.pidNamespace &&
    a.boot === b.boot &&
    a.host === b.host
  )
}

/** For people. */
export function describeProcess({ pid, host, startedAtMs }: ProcessIdentity): string {
  const since = new Date(startedAtMs).toISOString().replace(/\.\d+Z$/, 'Z')
  return `process ${pid} on ${host}, started ${since}`
}

/** Reads what was written as JSON; undefined if it is nothing of the kind. */
export function parseProcessIdentity(value: unknown): ProcessIdentity | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const fields = value as Partial<Record<keyof ProcessIdentity, unknown>>
  const { host, machine, boot, pidNamespace, isContained, pid, startTicks, startedAtMs } = fields
  // Earlier versions had none.
  const { lock = '' } = fields
  if (typeof host !== 'string' || typeof machine !== 'string') return undefined
  if (typeof boot !== 'string' || typeof pidNamespace !== 'string') return undefined
  if (typeof isContained !== 'boolean') return undefined
  if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0) return undefined
  if (typeof startTicks !== 'string' || typeof lock !== 'string') return undefined
  if (typeof startedAtMs !== 'number' || !(Math.abs(startedAtMs) < 8.64e15)) return undefined
  return { host, machine, boot, pidNamespace, isContained, pid, startTicks, lock, startedAtMs }
}
