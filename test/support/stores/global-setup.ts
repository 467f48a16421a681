/**
 * Starts every store once, for all test files, and says at the end which were reached. TSREPLICATE_STORES names the ones
 * to try (all); TSREPLICATE_REQUIRE_STORES those without which the run fails.
 */
import { type TestProject } from 'vitest/node'
import { startAzurite } from './azurite.ts'
import { startCeph } from './ceph.ts'
import { startFakeGcs } from './fake-gcs.ts'
import { startMinio } from './minio.ts'
import { refuseMissing, type Started, storesIn } from './named-stores.ts'
import { type StoreName } from './reached.ts'
import { type RunningStore, type UnavailableStore } from './server.ts'

const starters = {
  minio: startMinio,
  ceph: startCeph,
  azurite: startAzurite,
  'fake-gcs': startFakeGcs,
} as const

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const wanted = storesIn('TSREPLICATE_STORES')
  const skipped = { unavailable: 'not among TSREPLICATE_STORES' }
  const start = async <T extends Started>(
    name: StoreName,
    starter: () => Promise<T | UnavailableStore>,
  ): Promise<T | UnavailableStore> =>
    wanted === undefined || wanted.includes(name) ? starter() : skipped
  const [minio, ceph, azurite, fakeGcs] = await Promise.all([
    start('minio', starters.minio),
    start('ceph', starters.ceph),
    start('azurite', starters.azurite),
    start('fake-gcs', starters['fake-gcs']),
  ])
  const stores: Readonly<Record<StoreName, Started>> = {
    minio,
    ceph,
    azurite,
    'fake-gcs': fakeGcs,
  }
  const stopAll = async (): Promise<void> => {
    for (const store of Object.values(stores)) if ('stop' in store) await store.stop()
  }
  try {
    refuseMissing(stores)
  } catch (error) {
    await stopAll()
    throw error
  }
  project.provide('stores', {
    minio: connectionOf(minio),
    ceph: connectionOf(ceph),
    azurite: connectionOf(azurite),
    'fake-gcs': connectionOf(fakeGcs),
  })
  return async () => {
    await stopAll()
    const all = Object.entries(stores)
    const reached = all.filter(([, store]) => !('unavailable' in store)).map(([name]) => name)
    const others = all.flatMap(([name, store]) =>
      'unavailable' in store ? [`${name} (${store.unavailable.split('\n')[0] ?? ''})`] : [],
    )
    process.stdout.write(
      `stores reached: ${reached.join(', ') || 'none'}` +
        `${others.length === 0 ? '' : `; not reached: ${others.join(', ')}`}\n`,
    )
  }
}

/** Without its `stop`, which cannot pass to another process. */
function connectionOf<T extends RunningStore>(
  store: T | UnavailableStore,
): Omit<T, 'stop'> | UnavailableStore {
  if ('unavailable' in store) return store
  return { ...store, stop: undefined }
}
