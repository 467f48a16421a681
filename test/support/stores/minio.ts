/**
 * MinIO on a free loopback port, built from its Go module (its makers publish sources only), or one that runs already:
 * TSREPLICATE_TEST_MINIO_ENDPOINT, with _ACCESS_KEY_ID, _SECRET_ACCESS_KEY (both `minioadmin` unless given).
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createBucket } from './s3-bucket.ts'
import {
  answers,
  buildGoProgram,
  freePort,
  type S3Store,
  startProcess,
  type UnavailableStore,
  waitUntilReady,
} from './server.ts'

const bucket = 'tsreplicate-test'
const region = 'us-east-1'

export async function startMinio(): Promise<S3Store | UnavailableStore> {
  const accessKeyId = process.env.TSREPLICATE_TEST_MINIO_ACCESS_KEY_ID ?? 'minioadmin'
  const secretAccessKey = process.env.TSREPLICATE_TEST_MINIO_SECRET_ACCESS_KEY ?? 'minioadmin'
  const running = process.env.TSREPLICATE_TEST_MINIO_ENDPOINT
  if (running !== undefined && running !== '') {
    const store = { endpoint: running, accessKeyId, secretAccessKey, bucket, region }
    await createBucket(store)
    return { ...store, stop: () => Promise.resolve() }
  }
  const program = await buildGoProgram({
    name: 'minio',
    module: 'github.com/minio/minio',
    version: 'v0.0.0-20260212201848-7aac2a2c5b7c',
  })
  if ('unavailable' in program) return program
  const folder = await mkdtemp(join(tmpdir(), 'minio-'))
  const address = `127.0.0.1:${await freePort()}`
  const endpoint = `http://${address}`
  const server = startProcess(
    'minio',
    [program.path, 'server', '--quiet', '--address', address, join(folder, 'data')],
    {
      env: {
        MINIO_ROOT_USER: accessKeyId,
        MINIO_ROOT_PASSWORD: secretAccessKey,
        MINIO_BROWSER: 'off',
        MINIO_UPDATE: 'off',
        // Makes `bucket.localhost:port` work.
        MINIO_DOMAIN: 'localhost',
        // Accepts a folder on the root disk.
        MINIO_CI_CD: '1',
      },
    },
  )
  const stop = async (): Promise<void> => {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
  try {
    await waitUntilReady(server, () => answers(`${endpoint}/minio/health/ready`))
    const store = { endpoint, accessKeyId, secretAccessKey, bucket, region }
    await createBucket(store)
    return { ...store, stop }
  } catch (error) {
    await stop()
    return { unavailable: String(error) }
  }
}
