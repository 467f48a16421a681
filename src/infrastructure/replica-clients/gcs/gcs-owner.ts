/** The owner object in a bucket: Google numbers the versions of an object, and writes on condition of such a number. */
import { ReplicaError } from '../../../domain/errors.js'
import { type OwnerObject } from '../../../usecase/ports/replica-client.js'
import { type NewOwner } from '../object-store/object-store-client.js'
import { field } from '../object-store/refused-request.js'
import { type GcsConnection } from './gcs-connection.js'
import { isMissingObject, parseJson } from './gcs-errors.js'
import { readText } from './gcs-http.js'

/** The object at `name`; undefined if there is none. */
export async function readOwnerObject(
  connection: GcsConnection,
  name: string,
  signal: AbortSignal,
): Promise<OwnerObject | undefined> {
  const action = `read ${connection.urlOf(name)}`
  const answer = await connection.attempt(
    { action, permission: 'storage.objects.get' },
    { method: 'GET', url: connection.objectUrl(name, { alt: 'media' }) },
    {
      signal,
      take: async (found) => {
        const version = found.headers['x-goog-generation']
        return { content: await readText(found), version }
      },
      expected: (failure) => (isMissingObject(failure) ? ('missing' as const) : undefined),
    },
  )
  if (answer === 'missing') return undefined
  const { content, version } = answer
  if (typeof version !== 'string') {
    throw new ReplicaError(`cannot ${action}: the answer does not say which version it is`)
  }
  return { content, version }
}

/** Writes the object at `name`, if it is still that version; undefined if it is not. */
export async function writeOwnerObject(
  connection: GcsConnection,
  owner: NewOwner,
  signal: AbortSignal,
): Promise<string | undefined> {
  const action = `write ${connection.urlOf(owner.name)}`
  const text = await connection.attempt(
    { action, permission: 'storage.objects.create and storage.objects.delete' },
    {
      method: 'POST',
      url: connection.uploadUrl({
        uploadType: 'media',
        name: owner.name,
        ifGenerationMatch: owner.replaces ?? '0',
      }),
      headers: { 'content-type': 'application/json' },
      body: [Buffer.from(owner.content)],
    },
    {
      signal,
      take: readText,
      expected: ({ status }) => (status === 412 ? ('changed' as const) : undefined),
    },
  )
  if (text === 'changed') return undefined
  const version = field(parseJson(text), 'generation')
  if (typeof version !== 'string') {
    throw new ReplicaError(`cannot ${action}: the answer does not say what was stored`)
  }
  return version
}
