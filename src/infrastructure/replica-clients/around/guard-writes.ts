import { type ReplicaClient } from '../../../usecase/ports/replica-client.js'
import { around, type Call } from './around-client.js'

/** Says whether this process may still write to the replica: throws if not. */
export interface WriteGuard {
  /** Knowledge of this age is good enough. */
  check(options: { readonly maxAgeMs: number }, signal: AbortSignal): Promise<void>
}

/** What is stored in this time after a look is in a generation of ours in any case. */
const writeMaxAgeMs = 10_000
/** What is deleted may be another's. */
const deleteMaxAgeMs = 1000

/** How old the knowledge may be; undefined: nothing is asked. */
const maxAgesMs: Readonly<Record<Call, number | undefined>> = {
  startUpload: writeMaxAgeMs,
  sendPart: undefined,
  finish: writeMaxAgeMs,
  delete: deleteMaxAgeMs,
  sweep: deleteMaxAgeMs,
  readOwner: undefined,
  // By it the right to write is got.
  writeOwner: undefined,
}

/**
 * Lets nothing be stored or deleted on a replica without asking. Stands inside the retries, so that what is tried again
 * after hours asks again.
 */
export function guardWrites(client: ReplicaClient, guard: WriteGuard): ReplicaClient {
  const guarded = around(client, {
    call: async (action, name, signal) => {
      const maxAgeMs = maxAgesMs[name]
      if (maxAgeMs !== undefined) await guard.check({ maxAgeMs }, signal)
      return action()
    },
  })
  return {
    ...guarded,
    delete: (refs, signal) =>
      refs.length === 0 ? Promise.resolve() : guarded.delete(refs, signal),
  }
}
