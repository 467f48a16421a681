/** Chooses what to restore from among the replicas: the newest by lineage, never less than what one of them says to be stored. */
import { AmbiguousBackupError, NoBackupError } from '../../domain/errors.js'
import { type Generation } from '../../domain/wal/generation.js'
import { ancestorsOf, type GenerationFacts } from '../../domain/stored/lineage.js'
import {
  comparePositions,
  formatIndex,
  formatPosition,
  formatWalPosition,
} from '../../domain/wal/position.js'
import { isAbortError } from '../../kit/abort.js'
import { messageOf } from '../../kit/error-text.js'
import {
  type Backup,
  type Loss,
  type Moment,
  restoreCommand,
  type RestoreRequest,
  type RestoreSource,
  targetFlags,
} from './restore-types.js'
import { type Searched, searchReplica } from './search-replica.js'
import { firstOf, isSourceFailure } from './source-failures.js'

export interface Choosing {
  /** What the user should know is added to them. */
  readonly notes: string[]
  /** Sources that failed are added to them. */
  readonly failed: Map<RestoreSource, unknown>
  /** What is known to be lost of sources that were tried before; absent: nothing. */
  readonly losses?: readonly Loss[]
  readonly signal: AbortSignal
}

/**
 * The backup that comes nearest to the target. Throws {@link NoBackupError}, an error that says what is lost, if nothing has
 * it, {@link AmbiguousBackupError}, or what kept every source from being searched.
 */
export async function chooseBackup(
  request: RestoreRequest,
  sources: readonly RestoreSource[],
  choosing: Choosing,
): Promise<Backup> {
  const { notes, failed, signal } = choosing
  const searched = new Map<RestoreSource, Searched>()
  const search = async (source: RestoreSource): Promise<void> => {
    try {
      searched.set(source, await searchReplica(source, request, notes, signal))
    } catch (error) {
      if (signal.aborted || isAbortError(error) || !isSourceFailure(error)) throw error
      failed.set(source, error)
      notes.push(`replica ${source.name} was skipped: ${messageOf(error)}`)
    }
  }
  await Promise.all(sources.map(search))
  // In the order of the configuration: between equals, the first is used.
  const found = sources.flatMap((source) => searched.get(source) ?? [])
  const backups: Backup[] = []
  const losses = [...(choosing.losses ?? [])]
  for (const { outcome } of found) {
    if (outcome.kind === 'backup') backups.push(outcome.backup)
    if (outcome.kind === 'loss') losses.push(outcome.loss)
  }
  const descent = new Descent(found)
  const best = backups.length === 0 ? undefined : chooseNewest(backups, descent, request)
  for (const { outcome } of found) {
    if (outcome.kind !== 'ambiguous') continue
    const isDecided = outcome.choices.every(
      (each) => best !== undefined && descent.isSameOrBefore(each, best.listing.generation),
    )
    if (!isDecided) throw outcome.error
  }
  for (const loss of losses) {
    if (best === undefined || !makesUpFor(best, loss, descent)) throw await loss.explain()
    notes.push(`replica ${loss.source.name} was skipped: ${loss.problem}`)
  }
  if (best !== undefined)
    return { ...best, notes: [...best.notes, ...strangers(best, backups, descent, request)] }
  if (failed.size > 0) throw firstOf(failed)
  throw nothingFound(request, searched, notes)
}

/** Which generation follows which, by what the snapshots on all replicas say. */
class Descent {
  readonly #facts = new Map<Generation, GenerationFacts>()

  constructor(searched: readonly Searched[]) {
    for (const each of searched.flatMap(({ history }) => history.facts)) {
      const { lineage } = each
      const known = this.#facts.get(each.generation)
      if (known?.lineage === undefined || lineage === undefined) {
        this.#facts.set(each.generation, lineage === undefined ? (known ?? each) : each)
        continue
      }
      const follows = [...known.lineage.follows, ...lineage.follows]
      this.#facts.set(each.generation, { ...each, lineage: { ...lineage, follows } })
    }
  }

  isSameOrBefore(a: Generation, b: Generation): boolean {
    if (a === b) return true
    const facts = this.#facts.get(b)
    return facts !== undefined && ancestorsOf(facts, this.#facts).has(a)
  }
}

/** Positive: `a` is newer than `b`. Undefined: nothing tells. */
function compareBackups(a: Backup, b: Backup, descent: Descent): number | undefined {
  const [one, other] = [a.listing.generation, b.listing.generation]
  if (one === other) return comparePositions(a.position, b.position)
  const isFollowed = descent.isSameOrBefore(other, one)
  if (isFollowed !== descent.isSameOrBefore(one, other)) return isFollowed ? 1 : -1
  const byTime = a.commitTimeMs - b.commitTimeMs
  return byTime === 0 ? undefined : byTime
}

function chooseNewest(
  backups: readonly Backup[],
  descent: Descent,
  request: RestoreRequest,
): Backup {
  const newest = backups.filter((each) =>
    backups.every((other) => (compareBackups(each, other, descent) ?? -1) >= 0),
  )
  const [first] = newest
  if (first !== undefined) return first
  const choices = backups.map((each) => {
    const { generation } = each.listing
    const flags = ['-generation', generation, ...targetFlags(request)]
    const time = new Date(each.commitTimeMs).toISOString()
    return `${formatPosition({ generation, ...each.position })} of ${time}: ${restoreCommand(request, each.source, flags)}`
  })
  throw new AmbiguousBackupError(
    'the replicas hold different histories, and it is not known which of them is the newest',
    { hint: ['Choose one:', ...choices].join('\n  ') },
  )
}

/** Whether a backup of one replica has what is lost on another one. */
function makesUpFor(backup: Backup, loss: Loss, descent: Descent): boolean {
  const { generation } = backup.listing
  if (generation === loss.generation) {
    const isPast =
      loss.position !== undefined && comparePositions(backup.position, loss.position) >= 0
    return !backup.isAtEnd || isPast
  }
  if (descent.isSameOrBefore(loss.generation, generation)) return true
  if (descent.isSameOrBefore(generation, loss.generation)) return false
  return backup.commitTimeMs > loss.timeMs
}

/** Replicas whose history does not know that of the chosen one. */
function strangers(
  best: Backup,
  backups: readonly Backup[],
  descent: Descent,
  request: RestoreRequest,
): readonly string[] {
  const { generation } = best.listing
  return backups
    .filter((each) => {
      const other = each.listing.generation
      return (
        !descent.isSameOrBefore(other, generation) && !descent.isSameOrBefore(generation, other)
      )
    })
    .map(({ source, listing }) => {
      const flags = ['-generation', listing.generation]
      return `replica ${source.name} holds another history, generation ${listing.generation}, and only the times of its commits say that ${generation} is newer; to restore the other: ${restoreCommand(request, source, flags)}`
    })
}

function nothingFound(
  request: RestoreRequest,
  searched: ReadonlyMap<RestoreSource, Searched>,
  notes: readonly string[],
): NoBackupError {
  let earliest: Moment | undefined
  for (const { earliest: moment } of searched.values()) {
    if (moment !== undefined && (earliest === undefined || moment.timeMs < earliest.timeMs)) {
      earliest = moment
    }
  }
  if (earliest === undefined) {
    return new NoBackupError(
      ['no matching backups found', notes.join('; ')].filter((text) => text !== '').join(': '),
      { hint: describeSearch(request, searched) },
    )
  }
  if (request.target.kind !== 'timestamp') {
    return new NoBackupError(
      'no matching backups found: the stored WAL does not lead from any snapshot to what was asked for',
    )
  }
  const about = earliest.approximate ? 'approximately ' : ''
  return new NoBackupError(
    `no matching backups found: the first moment that can be restored is ${about}${new Date(earliest.timeMs).toISOString()}`,
  )
}

/** For somebody who has found nothing: where was searched, what is there, and what was asked for. */
function describeSearch(
  request: RestoreRequest,
  searched: ReadonlyMap<RestoreSource, Searched>,
): string {
  if (searched.size === 0) return 'The database has no replica.'
  return [...searched]
    .map(([{ name, client }, { history }]) => {
      const { names } = history
      const held =
        names.length === 0
          ? 'no backup'
          : `${describeNames(names)}, but ${describeLack(request, names)}`
      return `Replica ${name}, ${client.location}, holds ${held}.`
    })
    .join(' ')
}

const maxShownNames = 5

function describeNames(names: readonly Generation[]): string {
  const [only, ...others] = names
  if (only !== undefined && others.length === 0) return `generation ${only}`
  const more = names.length > maxShownNames ? `, and ${names.length - maxShownNames} more` : ''
  return `${names.length} generations (${names.slice(0, maxShownNames).join(', ')}${more})`
}

function describeLack(
  { generation, target }: RestoreRequest,
  names: readonly Generation[],
): string {
  if (generation !== undefined && !names.includes(generation)) return `not ${generation}`
  const of = generation === undefined ? '' : ` of ${generation}`
  switch (target.kind) {
    case 'index':
      return `no snapshot${of} at or before index ${formatIndex(target.index)}`
    case 'position':
      return `no snapshot${of} at or before position ${formatWalPosition(target.position)}`
    case 'latest':
    case 'timestamp':
      return `no snapshot${of}, without which nothing can be restored`
  }
}
