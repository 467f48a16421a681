/** An application within the test: appends to the ledger of `ledger-writer.mjs`, and does whatever else it is told to. */
import Database from 'better-sqlite3'
import { createHash, randomBytes } from 'node:crypto'
import { appendFileSync } from 'node:fs'

export type CheckpointKind = 'PASSIVE' | 'FULL' | 'RESTART' | 'TRUNCATE'

export class Application {
  readonly #path: string
  readonly #oracle: string
  #database: Database.Database | undefined

  constructor(path: string, oracle: string) {
    this.#path = path
    this.#oracle = oracle
  }

  /** The row that was committed last. */
  get last(): number {
    return this.#last().n
  }

  append(rows = 1): void {
    const database = this.#open()
    const insert = database.prepare('insert into ledger values (?, ?, ?, ?)')
    let { n, hash } = this.#last()
    database.transaction(() => {
      for (let row = 0; row < rows; row += 1) {
        const payload = randomBytes(50 + ((n * 37) % 900))
        const prev = hash
        n += 1
        hash = createHash('sha256').update(`${n}|${prev}|`).update(payload).digest('hex')
        insert.run(n, prev, hash, payload)
      }
      database.prepare('delete from ledger where n <= ?').run(n - 200)
    })()
    appendFileSync(this.#oracle, `${n} ${hash} ${Date.now()}\n`)
  }

  checkpoint(kind: CheckpointKind): void {
    this.#open().pragma(`wal_checkpoint(${kind})`)
  }

  vacuum(): void {
    this.#open().exec('vacuum')
  }

  /** The last one to close copies everything back and deletes the WAL. */
  close(): void {
    this.#database?.close()
    this.#database = undefined
  }

  #open(): Database.Database {
    if (this.#database === undefined) {
      this.#database = new Database(this.#path, { timeout: 30_000 })
      this.#database.pragma('journal_mode = wal')
      this.#database.pragma('synchronous = normal')
      this.#database.pragma('wal_autocheckpoint = 0')
      this.#database.exec(
        `create table if not exists ledger(n integer primary key, prev text, hash text, payload blob);
         create index if not exists ledger_hash on ledger(hash)`,
      )
    }
    return this.#database
  }

  #last(): { n: number; hash: string } {
    const row = this.#open()
      .prepare<[], { n: number; hash: string }>(
        'select n, hash from ledger order by n desc limit 1',
      )
      .get()
    return row ?? { n: 0, hash: '' }
  }
}
