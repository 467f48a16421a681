/** Signals that come before the daemon can heed them, and those that mean nothing to it: none of them ends it. */

let hasHungUp = false

/** Called first of all. */
export function holdSignals(): void {
  process.on('SIGHUP', () => (hasHungUp = true))
  process.on('SIGUSR2', () => undefined)
}

/** Whether a SIGHUP came since {@link holdSignals} or since it was asked last. */
export function takeHangup(): boolean {
  const had = hasHungUp
  hasHungUp = false
  return had
}
