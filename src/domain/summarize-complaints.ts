/** One tenant can have thousands of databases that are not ready. An answer that names them all could be of any size. */
import { type NotReady } from './status.js'

/** So many of one kind are told one by one. */
const maxAlone = 10
/** Of more, so many are named. */
const maxNamed = 3
const maxLines = 500

/** Of many databases with one reason, a line that names the first few and says how many there are besides. Replicas are told apart. */
export function summarizeComplaints(complaints: readonly NotReady[]): readonly NotReady[] {
  const kinds = new Map<string, NotReady[]>()
  for (const complaint of complaints) {
    const kind = kindOf(complaint)
    const same = kinds.get(kind)
    if (same === undefined) kinds.set(kind, [complaint])
    else same.push(complaint)
  }
  const lines = [...kinds.values()].flatMap((same) =>
    same.length <= maxAlone ? same : [together(same)],
  )
  const left = lines.slice(maxLines)
  if (left.length === 0) return lines
  const [first] = left as [NotReady, ...NotReady[]]
  const reason = `${first.reason} (and there is more: see tsreplicate status)`
  return [...lines.slice(0, maxLines), { ...first, reason }]
}

/** The reason without what is each database's own: its path, and how long it has been so. */
function kindOf({ database, replica, reason }: NotReady): string {
  const shared = reason.replaceAll(database, '').replaceAll(/\b(\d+(\.\d+)?(ms|[smhd]))+\b/g, '')
  return JSON.stringify([replica, shared])
}

function together(same: readonly NotReady[]): NotReady {
  const [first, ...others] = same as [NotReady, ...NotReady[]]
  const named = others.slice(0, maxNamed - 1).map(({ database }) => database)
  const reason = `${first.reason} (and so are ${others.length} others, as ${named.join(' and ')})`
  return { ...first, reason }
}
