/** Machines that die, with their disks, under a service that acknowledges payments: what it acknowledged must be stored. */
import Database from 'better-sqlite3'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { library, program, root, Running, until } from './cli.ts'

export interface LostDisksOptions {
  /** Outlives the machines, for what was acknowledged. */
  readonly folder: string
  readonly replica: Readonly<Record<string, unknown>>
  /** Credentials for it. */
  readonly env?: Readonly<Record<string, string>>
  /** Payments under way at once. */
  readonly clients?: number
  /** What is acknowledged at least in a life of a machine. */
  readonly perLife?: number
}

export class LostDisks {
  readonly #options: LostDisksOptions
  /** All that dies with a machine. */
  readonly #disk: string
  readonly #acknowledged: string
  readonly #config: string
  #nextId = 1

  constructor(options: LostDisksOptions) {
    this.#options = options
    const { folder, replica } = options
    this.#disk = join(folder, 'disk')
    this.#acknowledged = join(folder, 'acknowledged')
    this.#config = join(folder, 'tsreplicate.yml')
    const dbs = [{ path: join(this.#disk, 'app.db'), replicas: [replica] }]
    writeFileSync(this.#config, JSON.stringify({ dbs, logging: { level: 'error' } }))
    writeFileSync(this.#acknowledged, '')
  }

  get acknowledged(): readonly number[] {
    return readFileSync(this.#acknowledged, 'utf8').split('\n').filter(Boolean).map(Number)
  }

  /**
   * A machine lives until `afterMs` of taking payments and dies, its disk with it; then the next one restores. Returns what
   * was acknowledged and is missing.
   */
  async oneLife(afterMs: number): Promise<readonly number[]> {
    const { clients = 4, perLife = 1 } = this.#options
    mkdirSync(this.#disk, { recursive: true })
    const before = this.acknowledged.length
    const options = {
      ...{ library, config: this.#config, acknowledged: this.#acknowledged, clients },
      first: this.#nextId,
    }
    const service = spawn(
      process.execPath,
      [join(root, 'test/support/payments.mjs'), JSON.stringify(options)],
      // Its own group, so that all of it can be killed at once.
      {
        stdio: ['ignore', 'ignore', 'pipe'],
        detached: true,
        env: { ...process.env, ...this.#options.env },
      },
    )
    let said = ''
    service.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
    const ended = once(service, 'close')
    const hasBegun = (): boolean => this.acknowledged.length >= before + perLife
    try {
      await until(() => hasBegun() || service.exitCode !== null, 60_000, 'payments')
      if (!hasBegun()) throw new Error(`the service ended by itself: ${said}`)
      await new Promise((resolve) => setTimeout(resolve, afterMs))
    } finally {
      if (service.pid !== undefined) process.kill(-service.pid, 'SIGKILL')
      await ended
    }
    const { pid = 0 } = service
    await until(() => !lives(pid), 20_000, 'the end of all its processes')
    rmSync(this.#disk, { recursive: true })
    mkdirSync(this.#disk)
    const db = join(this.#disk, 'app.db')
    await this.#restore(db)
    const kept = readIds(db)
    const { acknowledged } = this
    this.#nextId = Math.max(this.#nextId, ...acknowledged, ...kept) + 1000
    return acknowledged.filter((id) => !kept.has(id))
  }

  async #restore(db: string): Promise<void> {
    const args = [program, 'restore', '-config', this.#config, db]
    const restoring = new Running('restore', process.execPath, args, this.#options.env)
    if ((await restoring.exit()) !== 0) throw new Error(restoring.output)
  }
}

/** Whether a process of that group does anything still. */
function lives(group: number): boolean {
  return readdirSync('/proc').some((name) => {
    if (!/^[0-9]+$/.test(name)) return false
    try {
      // proc_pid_stat(5): behind the name in brackets its state, its parent, its group.
      const [state, , own] = (
        readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1) ?? ''
      ).split(' ')
      return Number(own) === group && state !== 'Z'
    } catch {
      return false
    }
  })
}

function readIds(path: string): ReadonlySet<number> {
  if (!existsSync(path)) return new Set()
  const db = new Database(path, { readonly: true })
  try {
    return new Set(db.prepare<[], number>('SELECT id FROM payment').pluck().all())
  } finally {
    db.close()
  }
}
