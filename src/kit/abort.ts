/** Waiting that an `AbortSignal` ends, written once. */

/** A signal that is never aborted. */
export const never: AbortSignal = new AbortController().signal

/** Why a wait is aborted that nobody waits for any more. One for all: each of its own would cost the making of a stack. */
export const waitIsOver = new DOMException('the wait is over', 'AbortError')

/**
 * True for the error of an aborted signal, that of `AbortSignal.timeout()` included. It is passed through untouched
 * everywhere. Errors of vendors that only share its name, `TimeoutError`, are none.
 */
export function isAbortError(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return (
    error.name === 'AbortError' || (error instanceof DOMException && error.name === 'TimeoutError')
  )
}

/** For the `catch` of a wait whose end by abort is as good as any other. */
export function ignoreAbort(error: unknown): void {
  if (!isAbortError(error)) throw error
}

/** Calls `act` once at the abort, at once if that has come; no more after its disposal. */
export function onAbort(signal: AbortSignal, act: () => void): Disposable {
  if (signal.aborted) act()
  else signal.addEventListener('abort', act, { once: true })
  return { [Symbol.dispose]: () => signal.removeEventListener('abort', act) }
}

/** Resolves at the abort. */
export async function aborted(signal: AbortSignal): Promise<undefined> {
  await new Promise<void>((resolve) => onAbort(signal, resolve))
}

/** What `work` comes to; rejects with the signal's reason at an abort, which does not wait for it. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: end, reject } = Promise.withResolvers<never>()
  using _listening = onAbort(signal, () => reject(signal.reason))
  return await Promise.race([work, end])
}

/**
 * Resolves when somebody calls the `wake` that `begin` is given, or at an abort. `begin` hands it on, and returns what
 * takes it back when the wait is over.
 */
export async function wokenOrAborted(
  signal: AbortSignal,
  begin: (wake: () => void) => () => void,
): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>((resolve) => {
    const wake = (): void => {
      listening[Symbol.dispose]()
      takeBack()
      resolve()
    }
    const listening = onAbort(signal, wake)
    const takeBack = begin(wake)
  })
}
