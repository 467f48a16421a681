/** Maps items in order with at most `limit` calls at once. The first failure is thrown; nothing new is begun then. */
export async function mapAtOnce<T, R>(
  items: readonly T[],
  limit: number,
  map: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  const entries = items.entries()
  const work = async (): Promise<void> => {
    try {
      // All workers take from the same iterator.
      for (const [at, item] of entries) results[at] = await map(item)
    } finally {
      entries.return?.(undefined)
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, work))
  return results
}
