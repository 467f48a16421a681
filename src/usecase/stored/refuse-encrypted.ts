import { CorruptionError, ReplicaError } from '../../domain/errors.js'
import { formatObjectPath, type ObjectRef } from '../../domain/stored/replica-layout.js'
import { type ReplicaClient } from '../ports/replica-client.js'

/** How an age file begins (age-encryption.org/v1). No LZ4 frame does. */
const ageStart = 'age-encryption.org/'

/**
 * Throws a {@link ReplicaError} when an object comes as an age file, which a client that has identities opens: without them
 * every object looks damaged, and none is.
 */
export async function refuseEncrypted(
  client: ReplicaClient,
  ref: ObjectRef,
  signal: AbortSignal,
): Promise<void> {
  if (!(await isAgeFile(client, ref, signal))) return
  throw new ReplicaError(
    `cannot read ${formatObjectPath(ref)} on ${client.location}: it is encrypted with age and no identity was given`,
    {
      retryable: false,
      hint: 'use -config with a configuration that has the secret key of the replica under age.identities',
    },
  )
}

async function isAgeFile(
  client: ReplicaClient,
  ref: ObjectRef,
  signal: AbortSignal,
): Promise<boolean> {
  let start = ''
  try {
    for await (const bytes of client.read(ref, { offset: 0, length: ageStart.length }, signal)) {
      start += String.fromCharCode(...bytes)
    }
  } catch (error) {
    // It has been tried to open it: there is an identity.
    if (error instanceof CorruptionError) return false
    throw error
  }
  return start === ageStart
}
