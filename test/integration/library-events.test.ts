/** What an application hears of its replication while it runs. */
import { randomUUID } from 'node:crypto'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type * as Library from '../../src/index.js'
import { type ReplicationEvents } from '../../src/index.js'
import { cleanUp, library, temporaryFolder, until } from '../support/cli.js'
import { startElsewhere, whyNotElsewhere } from '../support/elsewhere.ts'
import { addNote, makeNotes } from '../support/notes.ts'
import { silent } from '../support/silent-logger.ts'

const { configFromUrls, replicate } = (await import(library)) as typeof Library

afterEach(() => cleanUp())

type Heard = {
  readonly [Name in keyof ReplicationEvents]: {
    readonly name: Name
    readonly event: ReplicationEvents[Name]
  }
}[keyof ReplicationEvents]

/** Replicates a database whose commits may wait for half a second, and hears everything. */
async function replicated(): Promise<{
  readonly db: string
  readonly replica: string
  readonly replication: Library.RunningReplication
  readonly heard: Heard[]
  readonly waitFor: (name: string, event?: object) => Promise<void>
}> {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const replica = join(folder, 'replica')
  makeNotes(db, 'first')
  const config = await configFromUrls(db, [`file://${replica}`])
  const replication = await replicate(
    {
      ...config,
      databases: config.databases.map((database) => ({
        ...database,
        replicas: database.replicas.map((each) => ({
          ...each,
          syncIntervalMs: 100,
          maxLagMs: 400,
        })),
      })),
    },
    { logger: silent },
  )
  const heard: Heard[] = []
  replication
    .on('stored', (event) => heard.push({ name: 'stored', event }))
    .on('lag', (event) => heard.push({ name: 'lag', event }))
    .on('recovered', (event) => heard.push({ name: 'recovered', event }))
    .on('new-generation', (event) => heard.push({ name: 'new-generation', event }))
    .on('taken-over', (event) => heard.push({ name: 'taken-over', event }))
    .on('problem', (event) => heard.push({ name: 'problem', event }))
  const waitFor = (name: string, event: object = {}): Promise<void> => {
    const isIt = (each: Heard): boolean =>
      each.name === name &&
      Object.entries(event).every(([key, value]) => Reflect.get(each.event, key) === value)
    return until(
      () => heard.some(isIt),
      60_000,
      () => `${name} ${JSON.stringify(event)} among ${JSON.stringify(heard)}`,
    )
  }
  return { db, replica, replication, heard, waitFor }
}

test('an application hears what begins and is stored, what fails and is late, and that it is over', async () => {
  const { db, replica, replication, heard, waitFor } = await replicated()
  const of = { database: db, replica: 'file' }
  await waitFor('stored', of)
  expect(heard[0]).toMatchObject({
    name: 'new-generation',
    event: { database: db, reason: 'no generation exists' },
  })
  const stored = await replication.stored({ urgency: 'now' })
  await until(
    () =>
      heard.some(
        ({ name, event }) => name === 'stored' && event.position.offset >= stored.position.offset,
      ),
    30_000,
    'what is known to be stored',
  )

  // Somewhere else by now: the folder of the replica is a file.
  renameSync(replica, `${replica}-away`)
  writeFileSync(replica, '')
  addNote(db, 'second')
  await waitFor('problem', of)
  await waitFor('lag', of)
  rmSync(replica)
  renameSync(`${replica}-away`, replica)
  await waitFor('recovered', { ...of, from: 'problem' })
  await waitFor('recovered', { ...of, from: 'lag' })

  const ofAll = { database: undefined, replica: undefined }
  process.kill(replication.pid ?? 0, 'SIGKILL')
  await waitFor('problem', { ...ofAll, code: 'NOT_STORED' })
  await waitFor('recovered', { ...ofAll, from: 'problem' })
  // What one engine had told, the next one does not tell again.
  expect(heard.filter(({ name }) => name === 'new-generation')).toHaveLength(1)
  expect(await replication.stop()).toEqual([])
})

test.skipIf(whyNotElsewhere !== undefined)(
  'an application hears that another machine has taken its replica over, and who waits is told by whom',
  async () => {
    const { db, replica, replication, waitFor } = await replicated()
    await waitFor('stored')
    const other = join(temporaryFolder(), 'app.db')
    makeNotes(other, 'other')
    const elsewhere = startElsewhere({ host: 'other', boot: randomUUID() }, [
      'replicate',
      other,
      `file://${replica}`,
    ])
    await elsewhere.waitFor(/snapshot written/)
    // Whose it is was looked at lately: it is noticed by a later write. Who waits for that is refused at once, and told by whom.
    const refused = await (async () => {
      for (;;) {
        addNote(db, 'more')
        await replication.stored({ urgency: 'now', timeoutMs: 60_000 })
      }
    })().catch((error: unknown) => error)
    expect(refused).toMatchObject({
      code: 'NOT_STORED',
      message: expect.stringMatching(
        /^not stored: \S+: replica file was taken over by process \d+ on other, /,
      ) as string,
      hint: expect.stringContaining('safe in the database') as string,
    })
    await waitFor('taken-over', { database: db, replica: 'file' })
    await elsewhere.stop()
    await replication.stop()
  },
)
