/** Where the replicas of a database lie, without secrets: what is shown to people, and what several processes compare. */
import { type DatabaseConfig, type ReplicaTarget } from './config.js'

/** A replica by its name, and where it lies. */
export interface ReplicaPlace {
  readonly name: string
  readonly place: string
}

export function placesOf({ replicas }: Pick<DatabaseConfig, 'replicas'>): readonly ReplicaPlace[] {
  return replicas.map(({ name, target }) => ({ name, place: describePlace(target) }))
}

/** Whether they are the same, in whatever order. */
export function samePlaces(one: readonly ReplicaPlace[], other: readonly ReplicaPlace[]): boolean {
  const has = ({ name, place }: ReplicaPlace): boolean =>
    other.some((each) => each.name === name && each.place === place)
  return one.length === other.length && one.every(has)
}

/** What is wrong where a process wants `ours` of a database, and the one that replicates it has `theirs`. */
export function describeElsewhere({
  theirs,
  ours,
}: {
  readonly theirs: readonly ReplicaPlace[]
  readonly ours: readonly ReplicaPlace[]
}): string {
  return `another process replicates it to ${formatPlaces(theirs)}, and not to ${formatPlaces(ours)}`
}

function formatPlaces(places: readonly ReplicaPlace[]): string {
  return places.map(({ name, place }) => `${place} (${name})`).join(' and ')
}

/** The place of a target for people, the same for two targets of one place. */
export function describePlace(target: ReplicaTarget): string {
  switch (target.type) {
    case 'file':
      return target.path
    case 's3':
    case 'gcs':
    case 'abs': {
      const account = target.type === 'abs' ? `${target.accountName}@` : ''
      const server = target.endpoint === undefined ? '' : ` at ${target.endpoint}`
      const path = target.prefix === '' ? '' : `/${target.prefix}`
      return `${target.type}://${account}${target.bucket}${path}${server}`
    }
  }
}
