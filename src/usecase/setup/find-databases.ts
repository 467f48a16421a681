import { type DatabaseFinder, type Sign } from '../ports/database-finder.js'

export interface FoundDatabase {
  readonly path: string
  readonly sizeBytes: number
  /** Why it is likely to be one to replicate, for people; the best reason first. */
  readonly reasons: readonly string[]
  /** Whether somebody uses it, as far as can be seen. */
  readonly isInUse: boolean
}

const kinds = ['open', 'named', 'lying'] as const satisfies Sign['kind'][]
/** Nobody keeps there what must not be lost. */
const temporary = /^\/(tmp|var\/tmp|run|dev|proc|sys)\//
/** Browsers and desktops have dozens of them. */
const hidden = /\/\./

/** The databases that something points at: those that are open first, and those below the folder before others. */
export async function findDatabases(
  finder: DatabaseFinder,
  folder: string,
  signal: AbortSignal,
): Promise<readonly FoundDatabase[]> {
  const signs = new Map<string, { readonly sizeBytes: number; readonly signs: Sign[] }>()
  for (const { path, sizeBytes, sign } of await finder.find(signal)) {
    if (isPassedOver(folder, path)) continue
    const known = signs.get(path) ?? { sizeBytes, signs: [] }
    signs.set(path, known)
    known.signs.push(sign)
  }
  const rank = (path: string, [best]: readonly Sign[]): string =>
    `${kinds.indexOf(best?.kind ?? 'lying')} ${isBelow(folder, path) ? 0 : 1} ${path}`
  return [...signs]
    .map(([path, { sizeBytes, signs: all }]) => {
      const sorted = all.toSorted((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind))
      const isInUse = sorted[0]?.kind !== 'lying'
      const found = { path, sizeBytes, reasons: explain(sorted), isInUse }
      return { found, rank: rank(path, sorted) }
    })
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .map(({ found }) => found)
}

/** Below the folder, temporary files may be meant; those of browsers are not, as in a home folder. */
function isPassedOver(folder: string, path: string): boolean {
  return isBelow(folder, path)
    ? hidden.test(path.slice(folder.length))
    : temporary.test(path) || hidden.test(path)
}

function isBelow(folder: string, path: string): boolean {
  return folder !== '/' && path.startsWith(`${folder}/`)
}

function explain(signs: readonly Sign[]): readonly string[] {
  const [first, ...others] = signs.filter((sign) => sign.kind === 'open')
  const more = others.length === 0 ? '' : ` and ${others.length} more`
  const named = signs.flatMap((sign) => (sign.kind === 'named' ? [`named by ${sign.by}`] : []))
  const reasons = [
    ...(first === undefined ? [] : [`open in ${first.program} (${first.pid})${more}`]),
    ...new Set(named),
  ]
  return reasons.length === 0 ? ['lies here'] : reasons
}
