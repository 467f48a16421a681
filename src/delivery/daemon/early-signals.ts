/** Signals that come before the daemon can heed them, and those that mean nothing to it: none of them ends it. */

let hasHungUp = false

/** Called first of all. */
export function holdSignals(): void {
  process.on('SIGHUP', () => (hasHungUp = true))
  // SIGUSR1 would open Node's debugger to every user of the machine.
  for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.on(signal, () => undefined)
}

/** Whether a SIGHUP came since {@link holdSignals} or since it was asked last. */
export function takeHangup(): boolean {
  const had = hasHungUp
  hasHungUp = false
  return had
}
