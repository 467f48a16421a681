/** A database that is locked by its application holds up none of those that share its SQLite thread. */
import Database from 'better-sqlite3'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { cleanUp, listObjects, start, temporaryFolder, until, writeConfig } from '../support/cli.ts'

afterEach(cleanUp)

interface Place {
  readonly db: string
  readonly replica: string
}

/** From its commit until it is stored. */
const longestMs = 2000

function open({ db }: Place): Database.Database {
  const application = new Database(db, { timeout: 20_000 })
  application.pragma('journal_mode = WAL')
  application.pragma('wal_autocheckpoint = 0')
  application.exec('create table if not exists content (bytes)')
  return application
}

/** How long each of some commits takes until it is stored, one after the other. */
async function storing(place: Place, count: number): Promise<readonly number[]> {
  using application = Object.assign(open(place), {
    [Symbol.dispose](this: Database.Database) {
      this.close()
    },
  })
  const took: number[] = []
  for (let n = 0; n < count; n += 1) {
    await sleep(150)
    const before = listObjects(place.replica).length
    application.exec('insert into content values (randomblob(100))')
    const startedAt = performance.now()
    const isStored = (): boolean => listObjects(place.replica).length > before
    await until(isStored, 20_000, `commit ${n} to be stored`)
    took.push(performance.now() - startedAt)
  }
  return took
}

const worst = (all: readonly number[]): number => Math.round(Math.max(...all))

/** An exclusive lock is taken before the daemon comes: in its presence a database does not leave WAL mode. */
const locks: readonly {
  readonly how: string
  readonly isBefore: boolean
  readonly take: (application: Database.Database) => void
}[] = [
  {
    how: 'exclusively, in rollback mode',
    isBefore: true,
    take: (application) => {
      application.pragma('journal_mode = DELETE')
      application.exec('begin exclusive')
    },
  },
  {
    how: 'by a writer, while its WAL is to be restarted',
    isBefore: false,
    take: (application) => {
      application.exec('insert into content values (randomblob(4000000))')
      application.exec('begin immediate')
    },
  },
]

test.each(locks)(
  'databases are stored on time beside one that is held $how',
  async ({ isBefore, take }) => {
    const folder = temporaryFolder()
    const place = (name: string): Place => ({
      db: join(folder, `${name}.db`),
      replica: join(folder, `${name}.replica`),
    })
    const locked = place('locked')
    // More than there are threads: some share that of the locked one.
    const others = ['one', 'two', 'three'].map(place)
    for (const each of others) open(each).close()
    const holder = open(locked)
    if (isBefore) take(holder)
    const config = [locked, ...others].map(({ db, replica }) => ({
      path: db,
      replicas: [replica],
      'min-checkpoint-page-count': 20,
      'max-checkpoint-page-count': 50,
    }))
    const daemon = start('replicate', '-config', writeConfig(folder, ...config))
    const stored = isBefore ? others : [locked, ...others]
    await daemon.waitFor(/snapshot written/, { times: stored.length })
    const commitsBeside = async (count: number): Promise<readonly number[]> =>
      (await Promise.all(others.map((each) => storing(each, count)))).flat()

    const free = isBefore ? undefined : await commitsBeside(5)
    if (!isBefore) take(holder)
    const beside = await commitsBeside(15)
    holder.exec('commit')
    holder.close()
    const without = free ?? (await commitsBeside(5))
    process.stdout.write(
      `stored within ${worst(beside)} ms beside a lock, ${worst(without)} ms without\n`,
    )
    expect(worst(beside), daemon.output).toBeLessThan(longestMs)
    await daemon.stop()
  },
)
