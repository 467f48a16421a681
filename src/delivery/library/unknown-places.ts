/** What nobody knows to be stored, since no engine says so. */
import { type NotStored, NotStoredError } from '../../domain/errors.js'
import { type Config } from '../../domain/settings/config.js'
import { type WantedStored } from '../../usecase/daemon/commit-waits.js'

export interface Asked extends Pick<WantedStored, 'replicas'> {
  /** Its path; undefined: all that are replicated. */
  readonly database: string | undefined
}

/** A folder stands for its databases: which they are, the engine knows. */
type Replicated = Pick<Config, 'databases' | 'folders'>

const hint = 'The commit itself is safe in the database, and is stored once an engine runs.'

/** The message begins with `what`, names databases and replicas, and ends with `why`. */
export function untoldError(
  { what, why, cause }: { readonly what: string; readonly why: string; readonly cause?: unknown },
  asked: Asked,
  replicated: Replicated,
): NotStoredError {
  const places = placesOf(asked, replicated)
  const names = places.map(({ database, replicas }) => `${database} on ${replicas.join(', ')}`)
  const missing: readonly NotStored[] = places.flatMap(({ database, replicas }) =>
    replicas.map((replica) => ({ database, replica, detail: why })),
  )
  return new NotStoredError([what, ...names, why].join(': '), { cause, hint, missing })
}

function placesOf({ database: path, replicas: wanted }: Asked, { databases, folders }: Replicated) {
  const known = [
    ...databases,
    ...folders.map(({ path, database: { replicas } }) => ({ path, replicas })),
  ]
  const named = known.filter((each) => path === undefined || each.path === path)
  const asked = named.length > 0 || path === undefined ? named : [{ path, replicas: [] }]
  return asked.map(({ path: database, replicas }) => {
    const names = typeof wanted === 'string' ? replicas.map(({ name }) => name) : wanted
    return { database, replicas: names.length === 0 ? ['all'] : names }
  })
}
