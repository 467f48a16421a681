/**
 * Azurite on a free loopback port, installed once from npm into the cache of the stores, or one that runs already:
 * TSREPLICATE_TEST_AZURITE_ENDPOINT, with its account in the path.
 */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ContainerClient, StorageSharedKeyCredential } from '@azure/storage-blob'
import { type AbsReplicaTarget } from '../../../src/domain/settings/config.js'
import { Secret } from '../../../src/domain/settings/secret.js'
import {
  cacheFolder,
  exists,
  freePort,
  type RunningStore,
  startProcess,
  type UnavailableStore,
  waitUntilReady,
} from './server.ts'

export interface AbsStore extends RunningStore {
  readonly accountName: string
  readonly accountKey: string
  /** Exists already. */
  readonly container: string
}

const version = '3.37.0'
/** The account that every Azurite has, and its well-known key. */
const accountName = 'devstoreaccount1'
const accountKey =
  'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='
const container = 'tsreplicate-test'

export async function startAzurite(): Promise<AbsStore | UnavailableStore> {
  const running = process.env.TSREPLICATE_TEST_AZURITE_ENDPOINT
  if (running !== undefined && running !== '') {
    const store = { endpoint: running, accountName, accountKey, container }
    await plainContainer(store).createIfNotExists()
    return { ...store, stop: () => Promise.resolve() }
  }
  const installed = await install()
  if ('unavailable' in installed) return installed
  const folder = await mkdtemp(join(tmpdir(), 'azurite-'))
  const port = await freePort()
  const server = startProcess('azurite', [
    process.execPath,
    installed.path,
    ...['--blobHost', '127.0.0.1', '--blobPort', String(port), '--location', folder],
    // Current clients speak a newer version of the protocol than it knows; what is used here has not changed.
    ...['--silent', '--disableTelemetry', '--disableProductStyleUrl', '--skipApiVersionCheck'],
  ])
  const stop = async (): Promise<void> => {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const store = {
      endpoint: `http://127.0.0.1:${port}/${accountName}`,
      accountName,
      accountKey,
      container,
    }
    await waitUntilReady(server, async () => {
      await plainContainer(store).createIfNotExists()
      return true
    })
    return { ...store, stop }
  } catch (error) {
    await stop()
    return { unavailable: String(error) }
  }
}

async function install(): Promise<{ readonly path: string } | UnavailableStore> {
  const folder = join(cacheFolder, `azurite-${version}`)
  const path = join(folder, 'node_modules/azurite/dist/src/blob/main.js')
  if (await exists(path)) return { path }
  await mkdir(cacheFolder, { recursive: true })
  const building = await mkdtemp(join(cacheFolder, 'building-'))
  try {
    await promisify(execFile)(
      'npm',
      ['install', '--no-audit', '--no-fund', '--prefix', building, `azurite@${version}`],
      { timeout: 10 * 60_000, maxBuffer: 64 * 1024 * 1024 },
    )
    await rename(building, folder)
    return { path }
  } catch (error) {
    return { unavailable: `npm install azurite@${version} failed: ${String(error).slice(-2000)}` }
  } finally {
    await rm(building, { recursive: true, force: true })
  }
}

/** The vendor's client of a store, to look at it and prepare it past ours. */
export function plainContainer(store: Omit<AbsStore, 'stop'>): ContainerClient {
  return new ContainerClient(
    `${store.endpoint}/${store.container}`,
    new StorageSharedKeyCredential(store.accountName, store.accountKey),
    { retryOptions: { maxTries: 1 } },
  )
}

/** The configuration of a replica in a store's container. */
export function absTarget(
  store: Omit<AbsStore, 'stop'>,
  settings: Partial<AbsReplicaTarget> = {},
): AbsReplicaTarget {
  return {
    type: 'abs',
    accountName: store.accountName,
    accountKey: new Secret(store.accountKey),
    sasToken: undefined,
    plainSecrets: false,
    bucket: store.container,
    prefix: '',
    endpoint: store.endpoint,
    partSizeBytes: undefined,
    concurrency: undefined,
    storageClass: undefined,
    caFile: undefined,
    skipVerify: false,
    ...settings,
  }
}
