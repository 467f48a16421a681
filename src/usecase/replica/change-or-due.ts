import { ignoreAbort, waitIsOver } from '../../kit/abort.js'
import { type GenerationFeed } from '../backlog/generation-feed.js'
import { earliest } from '../backlog/waiting-commits.js'
import { type Clock } from '../ports/clock.js'

/** Waits until the feed has changed, something is due, or `signal`. `dueInMs`: how long until each thing is; undefined: never. */
export async function changeOrDue(
  { feed, clock }: { readonly feed: GenerationFeed; readonly clock: Clock },
  dueInMs: readonly (number | undefined)[],
  signal: AbortSignal,
): Promise<void> {
  const woken = new AbortController()
  const any = AbortSignal.any([signal, woken.signal])
  const waits = [feed.waitForChange(any)]
  const first = earliest(dueInMs)
  if (first !== undefined) waits.push(clock.sleep(first, any).catch(ignoreAbort))
  await Promise.race(waits)
  woken.abort(waitIsOver)
}
