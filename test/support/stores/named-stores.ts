/** The stores that a run of the tests tries, and those without which it fails, as the environment names them. */
import { type StoreName } from './reached.ts'
import { type RunningStore, type UnavailableStore } from './server.ts'

export type Started = RunningStore | UnavailableStore

const all: readonly StoreName[] = ['minio', 'ceph', 'azurite', 'fake-gcs']

/** The stores that a variable names; undefined: it is not set. */
export function storesIn(variable: string): readonly StoreName[] | undefined {
  const names = process.env[variable]?.split(',').filter(Boolean)
  const isStore = (name: string): name is StoreName => all.some((each) => each === name)
  const unknown = names?.filter((name) => !isStore(name)) ?? []
  if (unknown.length > 0) {
    throw new Error(`${variable}: no such store: ${unknown.join(', ')}`)
  }
  return names?.filter(isStore)
}

/** Throws where one of these is not reached that TSREPLICATE_REQUIRE_STORES names. */
export function refuseMissing(stores: Readonly<Partial<Record<StoreName, Started>>>): void {
  const missing = (storesIn('TSREPLICATE_REQUIRE_STORES') ?? []).flatMap((name) => {
    const store = stores[name]
    return store !== undefined && 'unavailable' in store ? [`${name}: ${store.unavailable}`] : []
  })
  if (missing.length === 0) return
  throw new Error(`stores that this run must reach were not:\n${missing.join('\n')}`)
}
