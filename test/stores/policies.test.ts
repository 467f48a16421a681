/** The policies of docs/object-stores.md, on MinIO: what they allow is enough, and they allow no more. */
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, inject, test } from 'vitest'
import { cleanUp, program, Running, temporaryFolder, until } from '../support/cli.js'
import { readBlocks } from '../support/documents.js'
import { verifyLedger, write } from '../support/ledger.js'
import { type Policy, startMinioSession } from '../support/stores/minio-session.js'

const { minio } = inject('stores')

afterAll(() => cleanUp())

if ('unavailable' in minio) {
  test.skip(`MinIO is not reached: ${minio.unavailable}`, () => undefined)
} else {
  test('the policy of a daemon is enough for one folder, and that of a reader to restore', async () => {
    const [writing, reading, ...others] = readBlocks('docs/object-stores.md').filter(
      ({ language }) => language === 'json',
    )
    expect(others).toEqual([])
    const folder = temporaryFolder()
    const prefix = `policies-${randomUUID()}`
    const db = join(folder, 'app.db')
    const oracle = join(folder, 'oracle')

    /** The environment of somebody with this policy, for the bucket and the folder of this test. */
    const session = async (text: string | undefined): Promise<Record<string, string>> => {
      const policy = (text ?? '')
        .replaceAll('my-bucket/app', `${minio.bucket}/${prefix}`)
        .replaceAll('my-bucket', minio.bucket)
      const credentials = await startMinioSession(minio, JSON.parse(policy) as Policy)
      return {
        AWS_ACCESS_KEY_ID: credentials.accessKeyId,
        AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
        AWS_SESSION_TOKEN: credentials.sessionToken,
      }
    }
    const configFor = (path: string): string => {
      const replica = { type: 's3', endpoint: minio.endpoint, bucket: minio.bucket, path }
      const config = join(folder, `${path.replaceAll('/', '-')}.yml`)
      writeFileSync(config, JSON.stringify({ dbs: [{ path: db, replicas: [replica] }] }))
      return config
    }
    const start = (env: Record<string, string>, ...args: string[]): Running =>
      new Running('tsreplicate', process.execPath, [program, ...args], env)
    const run = async (
      env: Record<string, string>,
      ...args: string[]
    ): Promise<{ code: number; output: string }> => {
      const running = start(env, ...args)
      return { code: await running.exit(), output: running.output }
    }

    const writer = await session(writing?.text)
    const config = configFor(prefix)
    // Large enough for an upload in parts.
    await write({ db, oracle, count: 400, rows: 20, payloadBytes: 4000 })
    const daemon = start(writer, 'replicate', '-config', config)
    await daemon.waitFor(/snapshot written/, { timeoutMs: 60_000 })
    const { n } = await write({ db, oracle, count: 20 })
    await until(
      async () => (await run(writer, 'status', '-config', config)).code === 0,
      60_000,
      () => `everything to be stored:\n${daemon.output}`,
    )
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(daemon.output).not.toMatch(/level=(WARN|ERROR)(?!.*converted to wal mode)/)
    const kept = await run(writer, 'retention', '-config', config, db)
    expect(kept.code, kept.output).toBe(0)

    const reader = await session(reading?.text)
    const output = join(folder, 'restored.db')
    const restored = await run(reader, 'restore', '-config', config, '-o', output, db)
    expect(restored.code, restored.output).toBe(0)
    expect(verifyLedger(output, oracle)).toEqual({ n })
    const verified = await run(reader, 'verify', '-level', 'restore', '-config', config, db)
    expect(verified.code, verified.output).toBe(0)

    // Neither may do anything elsewhere, and a reader may not write what is new.
    await write({ db, oracle, count: 1 })
    const elsewhere = configFor(`${prefix}-elsewhere`)
    for (const [env, path] of [
      [writer, elsewhere],
      [reader, config],
    ] as const) {
      const refused = start(env, 'replicate', '-config', path)
      await refused.waitFor(/permission denied/, { timeoutMs: 60_000 })
      await refused.kill()
    }
  })
}
