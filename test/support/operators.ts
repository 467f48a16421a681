/**
 * What operators do to a database file under a running daemon and past SQLite: copies over it, moves, `dd`, removed logs,
 * other names of the same file, mounts of the one file, links, clocks that are set. Some of it is harmless, some destroys the database for the
 * application too. Whatever it is, nothing may be silent: a restore is the database as the application sees it, or it is
 * refused, or an error was logged and the daemon is not ready.
 */
import Database from 'better-sqlite3'
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Application } from './application.ts'
import { program, run, Running, temporaryFolder, writeConfig } from './cli.ts'
import { hasCompiler } from './compiled.ts'
import { sayAtTheEnd } from './last-lines.ts'
import { readOracle } from './ledger.ts'
import { seeded } from './random.ts'
import { WrongClock } from './wrong-clock.ts'

/** Why nobody can do all this on this machine; undefined where they can. */
export const whyNoOperators = ((): string | undefined => {
  if (!hasCompiler) return 'no C compiler (cc), which their clocks need'
  const mayMount = spawnSync('unshare', ['--mount', 'true']).status === 0
  return mayMount ? undefined : 'no mount namespaces (unshare --mount)'
})()
if (whyNoOperators !== undefined) {
  sayAtTheEnd(`what operators do to a database file was not tested: ${whyNoOperators}`)
}

/** What a database holds, as far as it can be read. */
type View =
  | { readonly kind: 'commit'; readonly n: number; readonly hash: string; readonly rows: number }
  /** SQLite, or the chain of the ledger, says that it is no commit of the application. */
  | { readonly kind: 'broken'; readonly why: string }

interface Row {
  readonly n: number
  readonly prev: string
  readonly hash: string
  readonly payload: Buffer
}

function viewOf(path: string, known: ReadonlySet<string>): View {
  try {
    const database = new Database(path, { fileMustExist: true, timeout: 10_000 })
    try {
      const integrity = database.pragma('integrity_check', { simple: true })
      if (integrity !== 'ok') return { kind: 'broken', why: String(integrity).slice(0, 200) }
      let last: Row | undefined
      let rows = 0
      const all = database.prepare<[], Row>('select n, prev, hash, payload from ledger order by n')
      for (const row of all.iterate()) {
        const hash = createHash('sha256').update(`${row.n}|${row.prev}|`).update(row.payload)
        if (hash.digest('hex') !== row.hash) return { kind: 'broken', why: `row ${row.n}` }
        if (last !== undefined && (last.n + 1 !== row.n || last.hash !== row.prev))
          return { kind: 'broken', why: `the chain at row ${row.n}` }
        last = row
        rows += 1
      }
      if (last === undefined) return { kind: 'commit', n: 0, hash: '', rows }
      if (!known.has(last.hash)) return { kind: 'broken', why: `row ${last.n} ends no commit` }
      return { kind: 'commit', n: last.n, hash: last.hash, rows }
    } finally {
      database.close()
    }
  } catch (error) {
    return { kind: 'broken', why: String(error) }
  }
}

const isSame = (a: View, b: View): boolean =>
  a.kind === 'commit' && b.kind === 'commit' && a.hash === b.hash && a.rows === b.rows

type Outcome =
  | 'the restore is the database'
  | 'an error, and not ready'
  | 'refused, and not ready'
  /** Nothing that could be restored is what the application has: it has none any more. */
  | 'an error, and the database is damaged'

/** An act. The application is closed before it and opened again after it, unless it says otherwise. */
interface Act {
  readonly name: string
  readonly keepsOpen?: boolean
  /** Its error is said once and stands: another act would wait for a new one. */
  readonly isLast?: boolean
  readonly do: (episode: Episode) => void | Promise<void>
}

/** Never by this process itself: closing a descriptor of the file would drop the locks of its connection. */
function sh(command: string, ...args: readonly string[]): void {
  execFileSync(command, args, { stdio: 'pipe' })
}

const acts: readonly Act[] = [
  { name: 'nothing', do: () => undefined },
  { name: 'cp saved.db app.db', do: ({ db, saved }) => sh('cp', saved, db) },
  {
    name: 'cp saved.db app.db, application running',
    keepsOpen: true,
    do: ({ db, saved }) => sh('cp', saved, db),
  },
  {
    name: 'cp saved.db app.db; rm app.db-wal app.db-shm',
    do: ({ db, saved }) => {
      sh('cp', saved, db)
      sh('rm', '-f', `${db}-wal`, `${db}-shm`)
    },
  },
  {
    name: 'mv new.db app.db',
    do: ({ db, saved }) => {
      sh('cp', saved, `${db}.new`)
      sh('mv', `${db}.new`, db)
    },
  },
  {
    name: 'mv new.db app.db; rm app.db-wal app.db-shm',
    do: ({ db, saved }) => {
      sh('cp', saved, `${db}.new`)
      sh('mv', `${db}.new`, db)
      sh('rm', '-f', `${db}-wal`, `${db}-shm`)
    },
  },
  {
    name: 'dd of one page of saved.db',
    do: ({ db, saved, below }) => {
      const page = String(1 + below(4))
      sh('dd', `if=${saved}`, `of=${db}`, 'bs=4096', 'count=1', `skip=${page}`, `seek=${page}`, 'conv=notrunc') // prettier-ignore
    },
  },
  {
    name: 'dd of zeros over a page',
    do: ({ db, below }) =>
      sh('dd', 'if=/dev/zero', `of=${db}`, 'bs=4096', 'count=1', `seek=${1 + below(4)}`, 'conv=notrunc'), // prettier-ignore
  },
  { name: 'rm app.db-wal', do: ({ db }) => sh('rm', '-f', `${db}-wal`) },
  {
    name: 'truncate app.db-wal',
    do: ({ db }) => {
      if (existsSync(`${db}-wal`)) sh('truncate', '-s', '0', `${db}-wal`)
    },
  },
  { name: 'touch app.db', keepsOpen: true, do: ({ db }) => sh('touch', db) },
  {
    name: 'a hard link, to which the application writes',
    isLast: true,
    do: (episode) => {
      const alias = join(episode.folder, `hard-${randomUUID()}.db`)
      sh('ln', episode.db, alias)
      episode.appPath = alias
    },
  },
  {
    name: 'a symbolic link, to which the application writes',
    do: (episode) => {
      const alias = join(episode.folder, `soft-${randomUUID()}.db`)
      symlinkSync(episode.db, alias)
      episode.appPath = alias
    },
  },
  {
    name: 'the one file mounted elsewhere, where the application writes',
    do: (episode) => {
      const folder = join(episode.folder, `mount-${randomUUID()}`)
      mkdirSync(folder)
      const inside = join(folder, 'app.db')
      closeSync(openSync(inside, 'w'))
      episode.writeMounted(inside)
    },
  },
  {
    name: 'the clock is set',
    keepsOpen: true,
    do: ({ clock, pick }) => clock.set(pick([-26, -2, -0.1, 0.1, 2, 26]) * 3_600_000),
  },
  { name: 'the daemon is killed and started', keepsOpen: true, do: (e) => e.restart('SIGKILL') },
  { name: 'the daemon is stopped and started', do: (e) => e.restart('SIGTERM') },
]

/**
 * What is written beside a checkpoint cannot be told from it, nor what one follows within a second while frames wait to be
 * copied back. Operators take longer, before and after.
 */
const actPauseMs = 2500

/** How long it may take until an act shows, or what was committed is stored. */
const patienceMs = 40_000

export class Episode {
  readonly folder = temporaryFolder()
  readonly db = join(this.folder, 'app.db')
  readonly saved = join(this.folder, 'saved.db')
  readonly replica = join(this.folder, 'replica')
  readonly oracle = join(this.folder, 'oracle')
  readonly clock = new WrongClock()
  /** Where the application finds its database. */
  appPath = this.db
  /** Where that is to be looked at when the application sees it through a mount. */
  #mounted: string | undefined
  readonly #config = writeConfig(this.folder, { path: this.db, replicas: [this.replica] })
  readonly #random: () => number
  readonly story: string[] = []
  #daemon = this.#startDaemon()
  #output = ''
  #app: Application | undefined

  constructor(seed: number) {
    this.#random = seeded(seed)
  }

  below = (count: number): number => Math.floor(this.#random() * count)
  pick = <T>(values: readonly T[]): T => values[this.below(values.length)]!

  #startDaemon(): Running {
    return new Running(
      'tsreplicate',
      process.execPath,
      [program, 'replicate', '-config', this.#config],
      this.clock.env,
    )
  }

  async restart(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.#daemon.signal(signal)
    await this.#daemon.exit()
    this.#output += this.#daemon.output
    this.#daemon = this.#startDaemon()
  }

  get #errors(): number {
    return [...`${this.#output}${this.#daemon.output}`.matchAll(/level=ERROR/g)].length
  }

  get #known(): ReadonlySet<string> {
    return new Set(readOracle(this.oracle).map(({ hash }) => hash))
  }

  #write(commits: number): void {
    this.#app ??= new Application(this.appPath, this.oracle)
    for (let i = 0; i < commits; i += 1) this.#app.append(1 + this.below(4))
    if (this.below(3) === 0) {
      const mode = this.pick(['PASSIVE', 'FULL', 'TRUNCATE'] as const)
      this.story.push(`  checkpoint ${mode}`)
      this.#app.checkpoint(mode)
    }
  }

  #close(): void {
    this.#app?.close()
    this.#app = undefined
  }

  /** The application runs in a container into which only the file is mounted; what it sees there is copied when it is killed. */
  writeMounted(inside: string): void {
    const copy = join(this.folder, `seen-${randomUUID()}.db`)
    const options = { db: inside, oracle: this.oracle, rate: 20, seed: this.below(1e6) }
    const lines = readOracle(this.oracle).length + 5
    const script = `
      mount --bind '${this.db}' '${inside}'
      "$0" '${join(import.meta.dirname, 'ledger-writer.mjs')}' '${JSON.stringify(options)}' &
      while [ "$(wc -l < '${this.oracle}')" -lt ${lines} ]; do sleep 0.1; done
      # An application lives for longer than it takes to look twice.
      sleep 25
      kill -9 $!
      cp '${inside}' '${copy}'
      cp '${inside}-wal' '${copy}-wal'`
    sh('unshare', '--mount', 'sh', '-ec', script, process.execPath)
    this.#mounted = copy
  }

  /** The database as the application sees it. */
  #live(): View {
    this.#close()
    return viewOf(this.#mounted ?? this.appPath, this.#known)
  }

  async #restored(): Promise<View | 'refused'> {
    const path = join(this.folder, `out-${randomUUID()}`)
    const { code } = await run('restore', '-config', this.#config, '-o', path, this.db)
    return code === 0 ? viewOf(path, this.#known) : 'refused'
  }

  async #isReady(): Promise<boolean> {
    return (await run('status', '-config', this.#config)).code === 0
  }

  /** Throws when the act stays silent; else says what became of it. */
  async #expectNothingSilent(errorsBefore: number, act: string): Promise<Outcome> {
    const live = this.#live()
    const startedMs = performance.now()
    for (;;) {
      const found = await this.#restored()
      if (found !== 'refused' && isSame(found, live)) {
        return 'the restore is the database'
      }
      const isSaid = this.#errors > errorsBefore
      if (isSaid && live.kind === 'broken') return 'an error, and the database is damaged'
      if ((isSaid || found === 'refused') && !(await this.#isReady())) {
        return isSaid ? 'an error, and not ready' : 'refused, and not ready'
      }
      if (performance.now() - startedMs > patienceMs) {
        throw new Error(
          `silent after ${act}: the application sees ${JSON.stringify(live)}, the restore is ${JSON.stringify(found)}`,
        )
      }
      await sleep(500)
    }
  }

  /** Some commits, an act, some more, and a look; as often as said, or until the application has no database any more. */
  async run(count: number, named?: string): Promise<readonly string[]> {
    const done: string[] = []
    try {
      this.#write(3)
      this.#close()
      sh('cp', this.db, this.saved)
      this.#write(4 + this.below(8))
      await this.#expectNothingSilent(0, 'the start')
      for (let i = 0; i < count; i += 1) {
        const act = acts.find(({ name }) => name === named) ?? this.pick(acts)
        const errors = this.#errors
        this.story.push(act.name)
        this.#write(1 + this.below(3))
        if (act.keepsOpen !== true) this.#close()
        await sleep(actPauseMs)
        await act.do(this)
        await sleep(actPauseMs)
        let isUsable = true
        if (this.#mounted === undefined) {
          try {
            this.#write(this.below(4))
          } catch (error) {
            this.story.push(`  the application fails: ${String(error)}`)
            isUsable = false
          }
        }
        const outcome = await this.#expectNothingSilent(errors, act.name)
        this.story.push(`  ${outcome}`)
        done.push(`${act.name}: ${outcome}`)
        // What comes then needs an application that is replicated.
        if (
          act.isLast === true ||
          !isUsable ||
          this.#mounted !== undefined ||
          outcome !== 'the restore is the database'
        )
          break
      }
      return done
    } catch (error) {
      const log = `${this.#output}${this.#daemon.output}`
        .split('\n')
        .filter((line) => !/level=DEBUG|wal segment written/.test(line))
        .join('\n')
      throw new Error(`${String(error)}\n${this.story.join('\n')}\n${log}`, { cause: error })
    } finally {
      this.#close()
      await this.#daemon.kill()
    }
  }
}

/** What there is to be done. */
export const actNames: readonly string[] = acts.map(({ name }) => name)
