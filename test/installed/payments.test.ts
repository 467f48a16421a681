/** A service that acknowledges payments when they are in the bucket, on machines that die with their disks. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp } from '../support/cli.ts'
import { InstalledProject, type Server } from '../support/installed-project.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'
import { seeded } from '../support/random.ts'
import { startMinio } from '../support/stores/minio.ts'
import { refuseMissing } from '../support/stores/named-stores.ts'

const lives = Number(process.env['TSREPLICATE_LIVES'] ?? 50)
const seed = Number(process.env['TSREPLICATE_SEED'] ?? Date.now() % 1_000_000)
const clients = 4

const store = await startMinio()
if ('unavailable' in store) sayAtTheEnd(`no payments were tried: ${store.unavailable}`)
refuseMissing({ minio: store })

let app: InstalledProject

beforeAll(async () => {
  if ('unavailable' in store) return
  const { port } = new URL(store.endpoint)
  app = await InstalledProject.ofExample('payments', {
    REPLICA_URL: `s3://${store.bucket}.localhost:${port}/payments-${seed}`,
    AWS_ACCESS_KEY_ID: store.accessKeyId,
    AWS_SECRET_ACCESS_KEY: store.secretAccessKey,
  })
})

afterAll(async () => {
  await cleanUp()
  if ('stop' in store) await store.stop()
})

/** Pays, one payment after the other, until nobody answers. Each that is acknowledged is told. */
async function pay(server: Server, acknowledged: (id: string) => void): Promise<void> {
  for (;;) {
    const id = randomUUID()
    try {
      const { status } = await server.post('/payments', { id, cents: 1999 })
      if (status === 201) acknowledged(id)
    } catch {
      return
    }
  }
}

/** What the bucket has, as another machine restores it. */
async function stored(life: number): Promise<ReadonlySet<string>> {
  const rows = await app.query(await app.restore(`life-${life}.db`), 'SELECT id FROM payment')
  return new Set((rows as { readonly id: string }[]).map(({ id }) => id))
}

test.skipIf('unavailable' in store)(
  'what was acknowledged is in the bucket, whenever the machine dies',
  async () => {
    const random = seeded(seed)
    const acknowledged = new Set<string>()
    for (let life = 0; life < lives; life += 1) {
      // A group of its own, so that the engine dies with it.
      const server = await app.serve('setsid', 'node', 'server.ts')
      const first = Promise.withResolvers<undefined>()
      const paying = Array.from({ length: clients }, () =>
        pay(server, (id) => {
          acknowledged.add(id)
          first.resolve(undefined)
        }),
      )
      await Promise.race([first.promise, Promise.all(paying)])
      await sleep(random() ** 2 * 1500)
      process.kill(-server.running.pid, 'SIGKILL')
      await Promise.all([server.running.exit(), ...paying])
      app.loseDisk()
      const kept = await stored(life)
      const missing = [...acknowledged].filter((id) => !kept.has(id))
      expect(missing, `life ${life} of seed ${seed}`).toEqual([])
    }
    expect(acknowledged.size).toBeGreaterThanOrEqual(lives)
    console.log(`seed ${seed}: ${lives} lives, ${acknowledged.size} payments acknowledged`)
  },
  120_000 + lives * 60_000,
)
