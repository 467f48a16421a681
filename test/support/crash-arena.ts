/**
 * A database, its application, and a daemon with two replicas, one of which is always behind and gets merged objects;
 * snapshots and deletions follow each other within seconds. All of them are killed again and again, and after each
 * time it is proven what must hold.
 */
import Database from 'better-sqlite3'
import { chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Position } from '../../src/domain/wal/position.ts'
import { sameSalts } from '../../src/domain/wal/wal-format.ts'
import { systemClock } from '../../src/infrastructure/clock/system-clock.ts'
import { fileImages } from '../../src/infrastructure/image/file-image.ts'
import { FileReplicaClient } from '../../src/infrastructure/replica-clients/file/file-replica-client.ts'
import { restoreDatabase } from '../../src/usecase/restore/restore-database.ts'
import { lookAtCaptured, saltsOf, spoolFolderOf, walSalts } from './captured.ts'
import { hasPageMap, program, Running, temporaryFolder } from './cli.ts'
import { lastAcknowledged, startWriter, verifyLedger, type WriterOptions } from './ledger.ts'
import { makeNotes } from './notes.ts'
import { Patience } from './patience.ts'
import { imageEntries } from './image-entries.ts'

const { signal } = new AbortController()

/** Restores in this process, because starting one takes longer than a small restore. */
export async function restoreHere(replica: string, outputPath: string): Promise<Position> {
  const client = new FileReplicaClient({ path: replica, owner: undefined })
  const report = await restoreDatabase(
    {
      sources: [{ name: 'file', client }],
      generation: undefined,
      target: { kind: 'latest' },
      outputPath,
      parallelism: 8,
      integrityCheck: 'none',
      dryRun: false,
    },
    { image: fileImages(imageEntries), clock: systemClock, onProgress: () => undefined },
    signal,
  )
  return { generation: report.generation, ...report.position }
}

/** What a daemon has logged. */
export interface LogLine {
  readonly msg: string
  readonly db?: string
  readonly replica?: string
  readonly generation?: string
  readonly reason?: string
  readonly detail?: string
  /** How a generation goes on. */
  readonly how?: string
  readonly position?: string
  readonly sz?: number
}

export function logOf(daemon: Running): LogLine[] {
  return daemon.stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as LogLine)
}

/** Each time, whether the generation of the database goes on or a new one begins. */
function verdictsOf(lines: readonly LogLine[]): LogLine[] {
  return lines.filter(({ msg }) => msg === 'generation continues' || msg === 'new generation')
}

/** Numbers in [0, 1) that a seed repeats. */
export function generator(from: number): () => number {
  let state = from >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 4_294_967_296
  }
}

export type ReplicaName = 'a' | 'b'

/**
 * With TSREPLICATE_CRASH_APART=1 the database is one of several users', so that the daemon has it open in processes apart, which
 * are killed, too. That takes root.
 */
export const isApart = process.env.TSREPLICATE_CRASH_APART === '1'

/** Makes it a database of a user who is not alone. What the configuration has besides. */
function placeApart(db: string): object {
  const folder = temporaryFolder()
  const [other, replica] = [join(folder, 'other.db'), join(folder, 'replica')]
  makeNotes(other, 'other')
  writeFileSync(db, '')
  chownSync(other, 61_001, 61_001)
  chownSync(db, 61_002, 61_002)
  return { path: other, replicas: [{ name: 'other', path: replica }] }
}

export class Arena {
  readonly folder: string
  readonly db: string
  readonly oracle: string
  readonly random: () => number
  daemon: Running | undefined
  writer: Running | undefined
  /** Of each daemon that looked at the WAL. */
  readonly verdicts = { continued: 0, begun: 0 }
  readonly #config: string
  readonly #newest: Record<ReplicaName, number> = { a: 0, b: 0 }
  #restores = 0
  /** Whether nobody else touches the database before the daemon has looked at it. */
  #isAlone = true
  #judged: (() => void) | undefined

  constructor(folder: string, seed: number) {
    this.folder = folder
    this.db = join(folder, 'app.db')
    this.oracle = join(folder, 'oracle')
    this.random = generator(seed)
    this.#config = join(folder, 'tsreplicate.yml')
    mkdirSync(join(folder, 'out'))
    const replica = (name: ReplicaName, syncInterval: string): object => ({
      name,
      path: this.replica(name),
      'sync-interval': syncInterval,
      retention: '2s',
      'retention-check-interval': '1s',
      'snapshot-interval': '1500ms',
    })
    const config = {
      dbs: [
        {
          path: this.db,
          'page-map': hasPageMap,
          'min-checkpoint-page-count': 50,
          replicas: [replica('a', '100ms'), replica('b', '1500ms')],
        },
        ...(isApart ? [placeApart(this.db)] : []),
      ],
      logging: { level: 'debug', type: 'json' },
    }
    writeFileSync(this.#config, JSON.stringify(config))
  }

  replica(name: ReplicaName): string {
    return join(this.folder, name)
  }

  startDaemon(env: Readonly<Record<string, string>> = {}): Running {
    this.judge()
    const before = lookAtCaptured(this.db)
    this.#isAlone = this.writer === undefined || this.writer.ended
    const daemon = new Running(
      'tsreplicate',
      process.execPath,
      [program, 'replicate', '-config', this.#config],
      env,
    )
    this.daemon = daemon
    this.#judged = () => {
      const lines = this.#logOf(daemon)
      const [first] = verdictsOf(lines)
      if (first === undefined) return
      const said = JSON.stringify(first)
      if (first.msg === 'generation continues') {
        this.verdicts.continued += 1
        // Else the page map tells.
        if (this.#isAlone && !before.goesOn && first.how === 'proven')
          throw new Error(`nothing went on, and yet: ${said}`)
      } else {
        this.verdicts.begun += 1
        if (first.reason === undefined) throw new Error(`no reason: ${said}`)
        if (this.#isAlone && before.goesOn) throw new Error(`it could have gone on: ${said}`)
      }
      for (const line of lines) {
        if (line.msg !== 'new generation' || before.last === undefined) continue
        // Whatever the reason is called, the WAL must not be the one of which the end was captured.
        const salts = walSalts(this.db)
        const isSame = salts !== undefined && sameSalts(salts, saltsOf(before.last))
        if (isSame && before.goesOn)
          throw new Error(`a generation too many: ${JSON.stringify(line)}`)
      }
    }
    return daemon
  }

  /** How many generations the daemon has begun. */
  get generations(): number {
    if (this.daemon === undefined) return 0
    return this.#logOf(this.daemon).filter(({ msg }) => msg === 'new generation').length
  }

  #logOf(daemon: Running): LogLine[] {
    return logOf(daemon).filter(({ db = this.db }) => db === this.db)
  }

  /** The processes in which the daemon has SQLite. */
  get readers(): number[] {
    const { pid = 0, ended = true } = this.daemon ?? {}
    if (ended) return []
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ')
    return children
      .filter((child) => child !== '' && commandOf(child).includes('sqlite-worker'))
      .map(Number)
  }

  /** Throws if the daemon before went on where that was not proven, or began a generation where it was. */
  judge(): void {
    const judged = this.#judged
    this.#judged = undefined
    judged?.()
  }

  async startWriter(
    options: Partial<WriterOptions> = {},
    env: Readonly<Record<string, string>> = {},
  ): Promise<Running> {
    if (this.daemon !== undefined && verdictsOf(this.#logOf(this.daemon)).length === 0)
      this.#isAlone = false
    this.writer = startWriter(
      {
        db: this.db,
        oracle: this.oracle,
        rate: 60,
        rows: 2,
        seed: Math.floor(this.random() * 1e9),
        autocheckpoint: [0, 0, 20, 1000][Math.floor(this.random() * 4)]!,
        checkpointChance: 0.01,
        shrinkChance: 0.03,
        keepRows: 200,
        synchronous: this.random() < 0.5 ? 'FULL' : 'NORMAL',
        ...options,
      },
      env,
    )
    if (Object.keys(env).length === 0) await this.writer.waitFor(/ready/)
    return this.writer
  }

  /** A restore of what is stored now: exactly one commit, and none older than a restore before. */
  async verify(name: ReplicaName): Promise<number> {
    this.#restores += 1
    const output = join(this.folder, 'out', `${name}-${this.#restores}.db`)
    const logged = this.daemon === undefined ? [] : logOf(this.daemon)
    const restored = await restoreHere(this.replica(name), output)
    const { n } = verifyLedger(output, this.oracle)
    rmSync(output)
    if (n < this.#newest[name]) {
      throw new Error(`${name} restores row ${n}, and had restored ${this.#newest[name]}`)
    }
    this.#newest[name] = n
    const begun = this.daemon === undefined ? [] : verdictsOf(this.#logOf(this.daemon))
    assertReached(restored, {
      lines: logged.filter(({ replica }) => replica === name),
      begun: begun.flatMap(({ generation = [] }) => generation),
    })
    return n
  }

  /** Waits until both replicas restore what is acknowledged by now, trying whatever they restore meanwhile. */
  async catchUp(): Promise<void> {
    const wanted = lastAcknowledged(this.oracle)
    const patience = new Patience(60_000)
    for (const name of ['a', 'b'] as const) {
      while (!this.#hasBackup(name) || (await this.verify(name)) < wanted) {
        if (this.daemon?.ended !== false) throw new Error(`the daemon ended:\n${this.#tail()}`)
        if (patience.isOver)
          throw new Error(`${patience.waited} for ${name} to catch up:\n${this.#tail()}`)
        await sleep(150)
      }
    }
  }

  #hasBackup(name: ReplicaName): boolean {
    if (this.#newest[name] > 0) return true
    return (
      this.daemon !== undefined &&
      logOf(this.daemon).some(({ msg, replica }) => msg === 'snapshot written' && replica === name)
    )
  }

  #tail(): string {
    return this.daemon?.output.split('\n').slice(-30).join('\n') ?? ''
  }

  /** Restarts the WAL behind the daemon's back: what was not captured is lost to it. */
  truncateWal(): void {
    const database = new Database(this.db, { timeout: 30_000 })
    database.pragma('wal_checkpoint(TRUNCATE)')
    database.close()
  }

  /** Nothing but the WAL can prove then that a generation goes on. */
  removePageMap(): void {
    const spool = spoolFolderOf(this.db)
    if (spool !== undefined) rmSync(join(spool, 'pages.map'), { force: true })
  }

  /** What a process leaves behind that died while it wrote a segment. */
  plantLeftovers(deadPid: number): void {
    const name = '7fffffff_00000000.wal.lz4'
    const spool = spoolFolderOf(this.db)
    if (spool === undefined) return
    writeFileSync(join(spool, `${name}.1.tmp`), 'half')
    for (const replica of ['a', 'b'] as const) {
      const folder = join(this.replica(replica), 'generations', basename(spool), 'wal')
      if (!existsSync(folder)) continue
      writeFileSync(join(folder, `${name}.${deadPid}-1.tsr.tmp`), 'half')
    }
  }

  async stop(): Promise<void> {
    if (this.writer?.ended === false) await this.writer.stop()
    const code = await this.daemon?.stop()
    if (code !== undefined && code !== 0) throw new Error(`the daemon ended with ${code}`)
    this.judge()
    const wanted = lastAcknowledged(this.oracle)
    for (const name of ['a', 'b'] as const) {
      const n = await this.verify(name)
      if (n !== wanted) throw new Error(`${name} ends with row ${n} instead of ${wanted}`)
    }
  }
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

interface Stored {
  readonly generation: string
  readonly index: number
  readonly offset: number
}

/** The end of what a replica has, as the daemon logged it. */
function lastStored(lines: readonly LogLine[], name: ReplicaName): Stored | undefined {
  const line = lines.findLast(
    ({ msg, replica }) => replica === name && msg === 'wal segment written',
  )
  const match = /^([0-9a-f]{16})\/([0-9a-f]{8}):([0-9]+)$/.exec(line?.position ?? '')
  if (match === null) return undefined
  return {
    generation: match[1]!,
    index: parseInt(match[2]!, 16),
    offset: Number(match[3]) + (line?.sz ?? 0),
  }
}

/** What was stored according to the log, in a generation with a snapshot, is what a restore has at least. */
function assertReached(
  restored: Position,
  {
    lines,
    begun,
  }: {
    readonly lines: readonly LogLine[]
    /** The generations that the daemon has gone on with or begun by now, in order. */
    readonly begun: readonly string[]
  },
): void {
  const snapshot = lines.findLast(({ msg }) => msg === 'snapshot written')
  const stored = lastStored(lines, lines[0]?.replica === 'b' ? 'b' : 'a')
  if (snapshot?.position === undefined || stored === undefined) return
  const generation = snapshot.position.slice(0, 16)
  if (generation !== restored.generation) {
    // Begun and stored while it was restored, perhaps.
    if (begun.indexOf(restored.generation) > begun.indexOf(generation)) return
    // A snapshot finished, and its log line not yet read, would be newer.
    if (stored.generation === generation) {
      throw new Error(`generation ${generation} is stored, and ${restored.generation} is restored`)
    }
    return
  }
  if (stored.generation !== generation) return
  const isOlder =
    restored.index < stored.index ||
    (restored.index === stored.index && restored.offset < stored.offset)
  if (isOlder) {
    throw new Error(`stored to ${JSON.stringify(stored)}, restored ${JSON.stringify(restored)}`)
  }
}
