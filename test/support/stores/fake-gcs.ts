/**
 * fake-gcs-server on a free loopback port, built from its Go module, or one that runs already:
 * TSREPLICATE_TEST_FAKE_GCS_ENDPOINT. It asks for no credentials and knows no conditions on reads and deletions.
 */
import { type GcsReplicaTarget } from '../../../src/domain/settings/config.js'
import {
  answers,
  buildGoProgram,
  freePort,
  type RunningStore,
  startProcess,
  type UnavailableStore,
  waitUntilReady,
} from './server.ts'

export interface GcsStore extends RunningStore {
  /** Exists already. */
  readonly bucket: string
}

const bucket = 'tsreplicate-test'

export async function startFakeGcs(): Promise<GcsStore | UnavailableStore> {
  const running = process.env.TSREPLICATE_TEST_FAKE_GCS_ENDPOINT
  if (running !== undefined && running !== '') {
    await createGcsBucket(running)
    return { endpoint: running, bucket, stop: () => Promise.resolve() }
  }
  const program = await buildGoProgram({
    name: 'fake-gcs-server',
    module: 'github.com/fsouza/fake-gcs-server',
    version: 'v1.56.1',
  })
  if ('unavailable' in program) return program
  const port = await freePort()
  const address = `127.0.0.1:${port}`
  const endpoint = `http://${address}`
  const server = startProcess('fake-gcs-server', [
    program.path,
    ...['-scheme', 'http', '-host', '127.0.0.1', '-port', String(port), '-backend', 'memory'],
    // Without these it knows itself by Google's name only, and the original reads by the address.
    ...['-public-host', address, '-external-url', endpoint],
    ...['-log-level', 'warn'],
  ])
  try {
    await waitUntilReady(server, () => answers(`${endpoint}/_internal/healthcheck`))
    await createGcsBucket(endpoint)
    return { endpoint, bucket, stop: () => server.stop() }
  } catch (error) {
    await server.stop()
    return { unavailable: String(error) }
  }
}

/** Makes a bucket, unless it is there. */
export async function createGcsBucket(endpoint: string, name = bucket): Promise<void> {
  const answer = await fetch(`${endpoint}/storage/v1/b?project=test`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name }),
  })
  await answer.text()
  // 409: it is there.
  if (!answer.ok && answer.status !== 409) throw new Error(`no bucket: HTTP ${answer.status}`)
}

type Store = Omit<GcsStore, 'stop'>

function objectUrl(store: Store, name: string): string {
  return `${store.endpoint}/storage/v1/b/${store.bucket}/o/${encodeURIComponent(name)}`
}

async function ask(url: string, init: RequestInit = {}): Promise<Response> {
  const answer = await fetch(url, init)
  if (!answer.ok) throw new Error(`${url}: HTTP ${answer.status} ${await answer.text()}`)
  return answer
}

/** Puts an object past our client. */
export async function putObject(store: Store, name: string, bytes: Uint8Array): Promise<void> {
  const query = new URLSearchParams({ uploadType: 'media', name }).toString()
  const url = `${store.endpoint}/upload/storage/v1/b/${store.bucket}/o?${query}`
  const answer = await ask(url, { method: 'POST', body: Buffer.from(bytes) })
  await answer.arrayBuffer()
}

/** What the store says of an object. */
export async function describeObject(
  store: Store,
  name: string,
): Promise<Readonly<Record<string, unknown>>> {
  const answer = await ask(objectUrl(store, name))
  return (await answer.json()) as Record<string, unknown>
}

export async function listNames(store: Store, prefix: string): Promise<string[]> {
  const query = new URLSearchParams({ prefix }).toString()
  const answer = await ask(`${store.endpoint}/storage/v1/b/${store.bucket}/o?${query}`)
  const page = (await answer.json()) as { items?: readonly { name: string }[] }
  return (page.items ?? []).map(({ name }) => name)
}

export async function copyObject(
  store: Store,
  { from, to }: { readonly from: string; readonly to: string },
): Promise<void> {
  const target = `b/${store.bucket}/o/${encodeURIComponent(to)}`
  const answer = await ask(`${objectUrl(store, from)}/rewriteTo/${target}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{}',
  })
  await answer.arrayBuffer()
}

/** The first letters of an object. */
export async function readHead(store: Store, name: string, length: number): Promise<string> {
  const answer = await ask(`${objectUrl(store, name)}?alt=media`, {
    headers: { range: `bytes=0-${length - 1}` },
  })
  return answer.text()
}

/** The configuration of a replica in a store's bucket. */
export function gcsTarget(
  store: Store,
  settings: Partial<GcsReplicaTarget> = {},
): GcsReplicaTarget {
  return {
    type: 'gcs',
    bucket: store.bucket,
    prefix: '',
    endpoint: store.endpoint,
    anonymous: true,
    partSizeBytes: undefined,
    concurrency: undefined,
    storageClass: undefined,
    caFile: undefined,
    skipVerify: false,
    ...settings,
  }
}
