/**
 * Deletes objects one by one, `atOnce` of them at a time. All are tried; returns what failed. Rejects with the signal's
 * reason when it is aborted.
 */
export async function deleteEach(
  names: readonly string[],
  { atOnce, signal }: { readonly atOnce: number; readonly signal: AbortSignal },
  deleteOne: (name: string) => Promise<unknown>,
): Promise<unknown[]> {
  const failures: unknown[] = []
  const waiting = names.toReversed()
  const work = async (): Promise<void> => {
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      if (signal.aborted) return
      try {
        await deleteOne(name)
      } catch (error) {
        failures.push(error)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, names.length) }, work))
  signal.throwIfAborted()
  return failures
}
