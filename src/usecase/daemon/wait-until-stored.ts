import { ReplicaError } from '../../domain/errors.js'
import { aborted } from '../../kit/abort.js'
import { type Barrier, type GenerationFeed } from '../backlog/generation-feed.js'
import { type Clock } from '../ports/clock.js'
import { type ReplicaStanding } from '../replica/replica-standing.js'

/**
 * Resolves when all that is committed now is stored, as `isStored` says, with where that ends. Undefined: at an abort, or
 * when there is nothing to wait for any more.
 */
export async function waitForBarrier(
  options: {
    readonly feed: GenerationFeed
    readonly isStored: (barrier: Barrier) => boolean
    /** Absent: nothing but the end of the feed is. */
    readonly isOver?: () => boolean
  },
  signal: AbortSignal,
): Promise<Barrier | undefined> {
  const { feed, isStored } = options
  const isOver = (): boolean => signal.aborted || feed.ended || options.isOver?.() === true
  const end = aborted(signal)
  while (!isOver()) {
    // It is rejected when capturing fails, which is tried again, and then so is this.
    const barrier = await Promise.race([feed.barrier().catch(() => undefined), end])
    while (barrier !== undefined && !isOver()) {
      if (isStored(barrier)) return barrier
      if (feed.current?.generation !== barrier.generation) break
      await feed.waitForChange(signal)
    }
  }
  return undefined
}

/** As {@link waitForBarrier} for one replica. Throws {@link ReplicaError} when that takes longer than `timeoutMs`. */
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
    () => done.abort(),
    () => undefined,
  )
  try {
    const isStored = (barrier: Barrier): boolean => standing.hasStored(barrier)
    const barrier = await waitForBarrier({ feed, isStored }, any)
    if (barrier !== undefined) return barrier
    signal.throwIfAborted()
    throw new ReplicaError('replica wait exceeded timeout: what is committed is not stored yet')
  } finally {
    done.abort()
    await over
  }
}
