import { type ReplicaClient } from '../../../usecase/ports/replica-client.js'
import { around } from './around-client.js'

/** Gives out permits; one is given back by disposing of it. */
export interface PermitSource {
  take(signal: AbortSignal): Promise<Disposable>
}

/**
 * Lets no more operations at a store run at once than there are permits; the others wait for their turn. Stands inside the
 * retries, so that nothing holds a permit while it waits for its next attempt. A reader holds its permit until it has
 * read to the end or given up, so whoever reads must not wait for another read meanwhile.
 */
export function limitOperations(client: ReplicaClient, permits: PermitSource): ReplicaClient {
  return around(client, {
    call: async (action, _, signal) => {
      const permit = await permits.take(signal)
      try {
        return await action()
      } finally {
        permit[Symbol.dispose]()
      }
    },
    stream: async function* (start, _, signal) {
      const permit = await permits.take(signal)
      try {
        yield* start()
      } finally {
        permit[Symbol.dispose]()
      }
    },
  })
}
