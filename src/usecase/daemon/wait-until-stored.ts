import { ReplicaError } from '../../domain/errors.js'
import { type Barrier, type GenerationFeed } from '../backlog/generation-feed.js'
import { type Clock } from '../ports/clock.js'
import { type ReplicaStanding } from '../replica/replica-standing.js'

/**
 * Resolves when a replica has all that is committed now, with where that ends. Throws {@link ReplicaError} when that takes
 * longer than `timeoutMs`.
 */
export async function waitUntilStored(
  options: {
    readonly feed: GenerationFeed
    readonly standing: Pick<ReplicaStanding, 'hasStored'>
    readonly clock: Clock
    readonly timeoutMs: number
  },
  signal: AbortSignal,
): Promise<Barrier> {
  const { feed, standing, clock, timeoutMs } = options
  const done = new AbortController()
  const any = AbortSignal.any([signal, done.signal])
  const over = clock.sleep(timeoutMs, any).then(
    () => {
      done.abort()
    },
    () => undefined,
  )
  const isOver = (): boolean => any.aborted || feed.ended
  try {
    while (!isOver()) {
      // It is rejected when capturing fails, which is tried again, and then so is this.
      const asked = feed.barrier().catch(() => undefined)
      const barrier = await Promise.race([asked, over.then(() => undefined)])
      while (barrier !== undefined && !isOver()) {
        if (standing.hasStored(barrier)) return barrier
        if (feed.current?.generation !== barrier.generation) break
        await feed.waitForChange(any)
      }
    }
    signal.throwIfAborted()
    throw new ReplicaError('replica wait exceeded timeout: what is committed is not stored yet')
  } finally {
    done.abort()
    await over
  }
}
