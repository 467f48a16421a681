/**
 * A database of this application that another process replicates under another name: a daemon with a configuration, or an
 * application that was started with another one. It has the local state, and this process waits until it ends.
 */
import { type NotStored } from '../../domain/errors.js'
import { type StoredRequest } from '../../usecase/daemon/await-stored.js'
import { type Stored } from '../../usecase/daemon/commit-waits.js'
import { type Replication } from '../../usecase/daemon/replicated-databases.js'
import { wantedBy } from '../daemon/endpoints.js'
import { type DaemonSubject, otherSockets, type StartedWith } from '../daemon/status-socket.js'

const lookMs = 100

type Awaited = Pick<Replication, 'awaitStored' | 'databases'>

/**
 * Resolves when this process has stored it, or, where another one has the database, what `ask` makes of that one. Undefined: none
 * says that it has it, as while the one that had it ends.
 */
export async function awaitHereOrThere(
  replication: Awaited,
  wanted: {
    readonly database: string
    readonly request: StoredRequest
    /** By what this process is asked itself. */
    readonly subject: StartedWith
    readonly ask: (daemon: DaemonSubject) => Promise<Stored | undefined>
  },
  signal: AbortSignal,
): Promise<Stored | undefined> {
  const { database, request, subject, ask } = wanted
  const there = new AbortController()
  const look = (): void => {
    if (holderOf(replication, database) !== undefined) there.abort()
  }
  look()
  const looking = setInterval(look, lookMs)
  try {
    const here = AbortSignal.any([signal, there.signal])
    return await replication.awaitStored(database, request, here)
  } catch (error) {
    if (signal.aborted || !there.signal.aborted) throw error
  } finally {
    clearInterval(looking)
  }
  const daemon = await findDaemon(database, subject, signal)
  return daemon && ask(daemon)
}

/** What is missing where no process has answered in time that has the database. */
export function missingThere(replication: Awaited, database: string): readonly NotStored[] {
  const holder = holderOf(replication, database)
  const detail =
    holder === undefined
      ? 'another process was to replicate it, and does not answer'
      : `${holder}, which this one cannot ask: stop one of the two, or run both as one user`
  return [{ database, replica: 'all', detail }]
}

/** Who has the database in place of this process, for people. */
function holderOf({ databases }: Awaited, path: string): string | undefined {
  const database = databases.find(({ config }) => config.path === path)
  const failure = database?.capture.status().lastFailure
  return failure?.isOver === false && failure.kind === 'IN_USE' ? failure.message : undefined
}

async function findDaemon(
  database: string,
  subject: StartedWith,
  signal: AbortSignal,
): Promise<DaemonSubject | undefined> {
  for (const socket of otherSockets(subject)) {
    const wanted = await wantedBy({ socket }, signal)
    if (wanted?.some(({ path }) => path === database) === true) return { socket }
  }
  return undefined
}
