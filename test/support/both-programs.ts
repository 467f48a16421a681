/** The two programs side by side: ours as it is built, and Litestream 0.3.13. */
import Database from 'better-sqlite3'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { litestream, type Outcome, program, Running } from './cli.ts'
import { scene, type Scene } from './scene.ts'

type Environment = Readonly<Record<string, string>>

export interface Program {
  readonly name: 'tsreplicate' | 'Litestream'
  readonly command: readonly string[]
  readonly start: (args: readonly string[], env?: Environment) => Running
  /** Runs it to its end. */
  readonly run: (args: readonly string[], env?: Environment) => Promise<Outcome>
}

function programOf(name: Program['name'], first: string, ...rest: string[]): Program {
  const start: Program['start'] = (args, env) => new Running(name, first, [...rest, ...args], env)
  return {
    name,
    command: [first, ...rest],
    start,
    run: async (args, env) => {
      const running = start(args, env)
      const code = await running.exit()
      return { code, stdout: running.stdout, stderr: running.stderr }
    },
  }
}

export const ours = programOf('tsreplicate', process.execPath, program)
export const theirs = programOf('Litestream', litestream)

interface Both<T> {
  readonly ours: T
  readonly theirs: T
}

/** What each of them comes to, at the same time. */
export async function both<T>(work: (program: Program) => Promise<T>): Promise<Both<T>> {
  const [mine, its] = await Promise.all([work(ours), work(theirs)])
  return { ours: mine, theirs: its }
}

/** A folder of its own for one of the programs, and the configuration that the other has, too. */
interface Stage extends Scene {
  readonly program: Program
  readonly config: string
  readonly start: (...args: string[]) => Running
  readonly run: (...args: string[]) => Promise<Outcome>
  /** What the program itself restores of its replica; undefined: it cannot. */
  readonly restored: (...flags: string[]) => Promise<string[] | undefined>
}

interface StageSettings {
  readonly top?: object
  readonly database?: object
  readonly replica?: object
}

/** Does the same with both programs, by the same configuration file: in it, `$STAGE` is the folder of each. */
export async function onBothStages<T>(
  { top, database, replica }: StageSettings,
  work: (stage: Stage) => Promise<T>,
): Promise<Both<T>> {
  const replicas = [{ path: '$STAGE/replica', 'sync-interval': '100ms', ...replica }]
  const text = JSON.stringify({ ...top, dbs: [{ path: '$STAGE/app.db', ...database, replicas }] })
  return both((each) => work(stageOf(each, text)))
}

function stageOf(program: Program, config: string): Stage {
  const place = scene()
  const path = join(place.folder, 'config.yml')
  writeFileSync(path, config)
  const env = { STAGE: place.folder, DB: place.db }
  let restores = 0
  return {
    ...place,
    program,
    config: path,
    start: (...args) => program.start(args, env),
    run: (...args) => program.run(args, env),
    restored: async (...flags) => {
      restores += 1
      const output = place.out(`${restores}.db`)
      const args = ['restore', '-o', output, ...flags, `file://${place.replica}`]
      return (await program.run(args)).code === 0 ? rowsOf(output) : undefined
    },
  }
}

/** Adds rows to a table that is made when it is not there; the connection stays open until it is closed. */
export class Log implements Disposable {
  readonly #database: Database.Database

  constructor(path: string) {
    this.#database = new Database(path, { timeout: 10_000 })
    this.#database.pragma('journal_mode = wal')
    this.#database.pragma('wal_autocheckpoint = 0')
    this.#database.exec('create table if not exists log (name text, filler blob)')
  }

  /** A commit for each name, with so much of what cannot be compressed. */
  add(names: readonly string[], fillerBytes = 0): void {
    const insert = this.#database.prepare('insert into log values (?, randomblob(?))')
    for (const name of names) insert.run(name, fillerBytes)
  }

  [Symbol.dispose](): void {
    this.#database.close()
  }
}

/** Adds rows, and closes the database. */
export function addRows(path: string, ...names: string[]): void {
  using log = new Log(path)
  log.add(names)
}

export function rowsOf(path: string): string[] {
  const database = new Database(path, { readonly: true })
  try {
    return database.prepare<[], string>('select name from log order by rowid').pluck().all()
  } finally {
    database.close()
  }
}
