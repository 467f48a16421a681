/**
 * What a program is told of its replication while it runs: what was stored and begun, and what goes wrong and is over again.
 * It is found by looking at the status, so that whatever happens between two looks is told once.
 */
import {
  type Counts,
  type DatabaseDetails,
  findNotReady,
  type NotReady,
  type ReplicaDetails,
} from './status.js'
import { formatPosition, type Position } from './wal/position.js'
import { type Generation } from './wal/generation.js'

/** The events of a replication, by their names. All times are milliseconds, moments since 1970. */
export interface ReplicationEvents {
  /** A replica has more than before. At most one a second, for each replica. */
  readonly stored: StoredEvent
  /** Commits have been waiting for longer than `max-lag` to be stored in a replica. */
  readonly lag: LagEvent
  /** A `lag`, `problem` or `taken-over` is over. */
  readonly recovered: RecoveredEvent
  /** A new history of a database has begun: the whole database is stored anew. */
  readonly 'new-generation': NewGenerationEvent
  /** Another writer has taken a replica over: this process stores nothing there any more. */
  readonly 'taken-over': TakenOverEvent
  /** Something fails, and is tried again. */
  readonly problem: ProblemEvent
}

/** A replica has more than before. Times are milliseconds since 1970. */
export interface StoredEvent {
  /** Path of the database. */
  readonly database: string
  /** Name of the replica. */
  readonly replica: string
  /** Everything up to there can be restored from the replica. */
  readonly position: Position
  /** When the store had acknowledged the last of it. */
  readonly storedAtMs: number
}

/** Commits wait for longer than they may. Durations are milliseconds. */
export interface LagEvent {
  /** Path of the database. */
  readonly database: string
  /** Name of the replica. */
  readonly replica: string
  /** For how long the oldest commit has been waiting that is not known to be stored. */
  readonly lagMs: number
  /** From which on that is an event: `max-lag` and an interval of the replica. */
  readonly maxLagMs: number
  /** What is not stored, and why, for people. */
  readonly reason: string
}

/** What had gone wrong is over. */
export interface RecoveredEvent {
  /** Path of the database; undefined: the process of the engine, and so all databases. */
  readonly database: string | undefined
  /** Name of the replica; undefined: all replicas of the database. */
  readonly replica: string | undefined
  /** Which event it ends. */
  readonly from: TroubleName
  /** How long that had lasted, milliseconds. */
  readonly lastedMs: number
}

/** A new history of a database has begun. */
export interface NewGenerationEvent {
  /** Path of the database. */
  readonly database: string
  /** The history that has begun. */
  readonly generation: Generation
  /** Why the one before could not go on, as the log says it. */
  readonly reason: string
}

/** Another writer has taken a replica over. */
export interface TakenOverEvent {
  /** Path of the database. */
  readonly database: string
  /** Name of the replica. */
  readonly replica: string
  /** Who has taken it over, for people. */
  readonly reason: string
}

/** Something fails, and is tried again. */
export interface ProblemEvent {
  /** Path of the database; undefined: the process of the engine, and so all databases. */
  readonly database: string | undefined
  /** Name of the replica; undefined: all replicas of the database. */
  readonly replica: string | undefined
  /** The code of the error, see docs/errors.md; `OTHER` where there is none. */
  readonly code: string
  /** What fails, for people. */
  readonly message: string
}

export type EventName = keyof ReplicationEvents

/** An event and its name. */
export type NamedEvent<Name extends EventName = EventName> = {
  readonly [Each in Name]: { readonly name: Each; readonly event: ReplicationEvents[Each] }
}[Name]

/** What lasts until it is over. */
type TroubleName = 'lag' | 'taken-over' | 'problem'
export type Trouble = NamedEvent<TroubleName>
/** What is over as soon as it is told. */
export type Happening = NamedEvent<'stored' | 'new-generation'>

/** What goes wrong at this moment: at most one problem of a database, and one trouble of a replica of each kind. */
export function findTroubles(
  databases: readonly DatabaseDetails[],
  failing: readonly NotReady[],
): readonly Trouble[] {
  return [
    ...failing.map(({ database, replica, reason }) =>
      problem({ database, replica, code: 'OTHER', message: reason }),
    ),
    ...databases.flatMap((database) => [
      ...databaseTroubles(database),
      ...database.replicas.flatMap((replica) => replicaTroubles(database, replica)),
    ]),
  ]
}

function databaseTroubles(status: DatabaseDetails): readonly Trouble[] {
  const { path: database, lastFailure } = status
  if (lastFailure?.isOver === false) {
    const { kind: code, message } = lastFailure
    return [problem({ database, replica: undefined, code, message })]
  }
  const [first] = findNotReady([status]).filter(({ replica }) => replica === undefined)
  if (first === undefined) return []
  return [problem({ ...first, code: 'OTHER', message: first.reason })]
}

function replicaTroubles(status: DatabaseDetails, replica: ReplicaDetails): readonly Trouble[] {
  const { path: database } = status
  const { name, refusal, confirmedLagMs: lagMs, maxLagMs, lastFailure } = replica
  const of = { database, replica: name }
  if (refusal !== undefined) return [{ name: 'taken-over', event: { ...of, reason: refusal } }]
  const troubles: Trouble[] = []
  if (lastFailure?.isOver === false) {
    const { kind: code, message } = lastFailure
    troubles.push(problem({ ...of, code, message }))
  }
  if (lagMs > maxLagMs) {
    const reason = findNotReady([status]).find((each) => each.replica === name)?.reason ?? ''
    troubles.push({ name: 'lag', event: { ...of, lagMs, maxLagMs, reason } })
  }
  return troubles
}

function problem({ database, replica, code, message }: ProblemEvent): Trouble {
  return { name: 'problem', event: { database, replica, code, message } }
}

/** What it is about: two with the same key are one, which goes on. */
function keyOf({ name, event: { database = '', replica = '' } }: Trouble): string {
  return [name, database, replica].join('\0')
}

/** As the key, and what it is told by: one that changes is told again. */
export function kindOf(trouble: Trouble): string {
  return [keyOf(trouble), trouble.name === 'problem' ? trouble.event.code : ''].join('\0')
}

/** Troubles that were told, until they are over. */
export class StandingTroubles {
  #standing: ReadonlyMap<string, { readonly trouble: Trouble; readonly sinceMs: number }> =
    new Map()

  /** What is to be told when these are all that there are, at a moment of the monotonic clock. */
  become(troubles: readonly Trouble[], nowMs: number): readonly NamedEvent[] {
    const before = this.#standing
    this.#standing = new Map(
      troubles.map((trouble) => {
        const key = keyOf(trouble)
        return [key, { trouble, sinceMs: before.get(key)?.sinceMs ?? nowMs }]
      }),
    )
    const isTold = new Set([...before.values()].map(({ trouble }) => kindOf(trouble)))
    const begun = troubles.filter((trouble) => !isTold.has(kindOf(trouble)))
    const over = [...before].filter(([key]) => !this.#standing.has(key))
    return [
      ...begun,
      ...over.map(([, { trouble, sinceMs }]): NamedEvent<'recovered'> => {
        const { name: from, event } = trouble
        const { database, replica } = event
        return { name: 'recovered', event: { database, replica, from, lastedMs: nowMs - sinceMs } }
      }),
    ]
  }
}

/** What was seen of a database at the last look. */
interface Seen {
  readonly generation: Generation | undefined
  readonly generations: Counts
  /** Of each replica, by its name. */
  readonly stored: ReadonlyMap<string, string>
}

const nothingSeen: Seen = { generation: undefined, generations: {}, stored: new Map() }

/** What has happened between one look and the next. The first look tells what has happened since the start. */
export class Happenings {
  #seen: ReadonlyMap<string, Seen> = new Map()

  since(databases: readonly DatabaseDetails[]): readonly Happening[] {
    const before = this.#seen
    const looks = databases.map((status) => lookAt(status, before.get(status.path) ?? nothingSeen))
    this.#seen = new Map(looks.map(({ path, seen }) => [path, seen]))
    return looks.flatMap(({ happenings }) => happenings)
  }
}

function lookAt(
  { path, position, totals, replicas }: DatabaseDetails,
  before: Seen,
): { readonly path: string; readonly seen: Seen; readonly happenings: readonly Happening[] } {
  const happenings: Happening[] = []
  const generation = position?.generation
  const isOther = generation !== undefined && generation !== before.generation
  const { generations } = totals
  if (isOther) {
    const reason = Object.keys(generations).find(
      (each) => generations[each] !== before.generations[each],
    )
    // Without a reason it is one of an earlier process that goes on.
    if (reason !== undefined) {
      happenings.push({ name: 'new-generation', event: { database: path, generation, reason } })
    }
  }
  const stored = new Map<string, string>()
  for (const { name, position, hasSnapshot, refusal, lastStoredAtMs } of replicas) {
    if (position === undefined || !hasSnapshot || refusal !== undefined) continue
    if (lastStoredAtMs === undefined) continue
    const upTo = formatPosition(position)
    stored.set(name, upTo)
    if (before.stored.get(name) === upTo) continue
    happenings.push({
      name: 'stored',
      event: { database: path, replica: name, position, storedAtMs: lastStoredAtMs },
    })
  }
  return {
    path,
    // A generation is counted before it is there.
    seen: isOther ? { generation, generations: { ...generations }, stored } : { ...before, stored },
    happenings,
  }
}
