/**
 * Hosts that write one database to one replica, one after the other or at once: the loops of the program as they are, over
 * a database, a local state and a store in memory, each host by a clock of its own. Every commit knows what it follows, and
 * of every position that was ever stored it is known which commit it is.
 */
import { ReplicaError } from '../../src/domain/errors.ts'
import { type BreakReason } from '../../src/domain/wal/break-reason.ts'
import { type Generation } from '../../src/domain/wal/generation.ts'
import { comparePositions, type WalPosition } from '../../src/domain/wal/position.ts'
import { type ProcessIdentity } from '../../src/domain/process-identity.ts'
import { formatObjectPath, ownerObjectName } from '../../src/domain/stored/replica-layout.ts'
import { parseReplicaOwner, type RememberedClaims } from '../../src/domain/stored/replica-owner.ts'
import {
  formatTrailer,
  parseTrailer,
  type Trailer,
  type WalSegmentTrailer,
} from '../../src/domain/stored/trailer.ts'
import { guardWrites } from '../../src/infrastructure/replica-clients/around/guard-writes.ts'
import { aborted } from '../../src/kit/abort.ts'
import { codeOf } from '../../src/kit/error-text.ts'
import { chooseBackup } from '../../src/usecase/restore/choose-backup.ts'
import { GenerationFeed } from '../../src/usecase/backlog/generation-feed.ts'
import { OwnReplica } from '../../src/usecase/replica/own-replica.ts'
import { Permits } from '../../src/kit/permits.ts'
import { type ChangeWatcher } from '../../src/usecase/ports/change-watcher.ts'
import { type Compressor } from '../../src/usecase/ports/compressor.ts'
import { type Logger } from '../../src/usecase/ports/logger.ts'
import {
  type CapturedRun,
  type CaptureCursor,
  type CaptureResult,
  type ManagedDatabase,
  type WalState,
} from '../../src/usecase/ports/managed-database.ts'
import {
  type SegmentWriter,
  type Spool,
  type SpooledSegment,
  type SpoolState,
} from '../../src/usecase/ports/spool.ts'
import { type StoredRuns } from '../../src/domain/stored/stored-runs.ts'
import { Refusal } from '../../src/usecase/refusal.ts'
import { ReplicaProblems } from '../../src/usecase/replica-problems.ts'
import { type RestoreTarget } from '../../src/usecase/restore/restore-types.ts'
import { SyncDatabase } from '../../src/usecase/capture/sync-database.ts'
import { SyncReplica } from '../../src/usecase/replica/sync-replica.ts'
import { MemoryReplicaClient } from './memory-replica-client.ts'
import { randomFrom } from './retention-model.ts'
import { VirtualClock, VirtualTime } from './virtual-time.ts'

const pageSizeBytes = 512
const frameBytes = pageSizeBytes + 24
const headerBytes = 32
export const secondMs = 1000
export const minuteMs = 60 * secondMs
export const hourMs = 60 * minuteMs

/** A commit of the application, and so the state of the database behind it. */
export interface Commit {
  /** From 1; 0 is the empty database. */
  readonly number: number
  readonly parent: Commit | undefined
}

interface Wal {
  readonly salt: number
  readonly commits: Commit[]
}

/** A database file with its WAL. */
export interface DatabaseFile {
  readonly inode: number
  head: Commit
  wal: Wal
}

/** What lies in the folder of the local state. */
interface LocalState {
  spool:
    | (Omit<SpoolState, 'segments'> & {
        segments: { readonly segment: SpooledSegment; readonly bytes: Uint8Array }[]
      })
    | undefined
  claims: RememberedClaims | undefined
  stored?: StoredRuns | undefined
}

export interface Line {
  readonly host: string
  readonly level: 'info' | 'warn' | 'error'
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

/** A generation whose first object was sent. */
export interface BegunGeneration {
  readonly generation: Generation
  readonly host: string
  /** Of the claim under which it was begun. */
  readonly epoch: number
}

export type Restored =
  | {
      readonly kind: 'commit'
      readonly commit: Commit
      readonly generation: Generation
      readonly position: WalPosition
      readonly notes: readonly string[]
    }
  | { readonly kind: 'refused'; readonly error: unknown }

export class World {
  readonly time = new VirtualTime()
  readonly client: MemoryReplicaClient
  readonly lines: Line[] = []
  /** By generation and position. */
  readonly commits = new Map<string, Commit>()
  /** In the order in which their first objects were sent. */
  readonly begun: BegunGeneration[] = []
  /** Objects that were stored a second time with other bytes. */
  readonly overwritten: string[] = []
  /** Of all hosts. */
  snapshotIntervalMs: number | undefined
  /** Called when a host begins to look at all generations of the replica. */
  onLook: ((host: Host) => void) | undefined
  readonly random: () => number
  #count = 0

  constructor(seed = 1) {
    this.random = randomFrom(seed)
    this.client = new MemoryReplicaClient({
      now: () => VirtualClock.startMs + Math.floor(this.time.nowMs),
    })
    const { objects } = this.client
    const set = objects.set.bind(objects)
    objects.set = (path, object) => {
      const former = objects.get(path)
      const isOther = former !== undefined && Buffer.compare(former.bytes, object.bytes) !== 0
      if (isOther && path !== ownerObjectName) this.overwritten.push(path)
      return set(path, object)
    }
  }

  /** One more each time. */
  next(): number {
    return (this.#count += 1)
  }

  randomBytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => Math.floor(this.random() * 256))
  }

  host(name: string, { offsetMs = 0 } = {}): Host {
    return new Host(this, name, offsetMs)
  }

  pass(durationMs: number): Promise<void> {
    return this.time.pass(durationMs)
  }

  record(generation: Generation, position: WalPosition, commit: Commit | undefined): void {
    if (commit !== undefined) this.commits.set(placeOf(generation, position), commit)
  }

  /** What a restore gives. Segments are verified as they are applied: each goes on from the one before. */
  async restore(
    target: RestoreTarget = { kind: 'latest' },
    generation?: Generation,
  ): Promise<Restored> {
    const notes: string[] = []
    const { signal } = new AbortController()
    const sources = [{ name: 'memory', client: this.client }]
    try {
      const backup = await chooseBackup(
        {
          sources,
          generation,
          target,
          outputPath: '/restored.db',
          parallelism: 1,
          integrityCheck: 'none',
          dryRun: false,
        },
        sources,
        { notes, failed: new Map(), signal },
      )
      const chosen = backup.listing.generation
      let before: WalSegmentTrailer | undefined
      for (const { index, offset } of backup.segments) {
        const path = formatObjectPath({ kind: 'wal-segment', generation: chosen, index, offset })
        const trailer = trailerIn(this.client.objects.get(path)?.bytes)
        if (trailer?.kind !== 'wal-segment') throw new ReplicaError(`${path} is damaged`)
        const expected = index === before?.index ? before.checksumAfter : undefined
        if (expected !== undefined && expected.s0 !== trailer.checksumBefore.s0) {
          throw new ReplicaError(`${path} does not follow the segment before it`)
        }
        before = trailer
      }
      const { position } = backup
      const commit = this.commits.get(placeOf(chosen, position))
      if (commit === undefined) {
        throw new Error(`nobody committed what is at ${placeOf(chosen, position)}`)
      }
      const said = [...notes, ...backup.notes]
      return { kind: 'commit', commit, generation: chosen, position, notes: said }
    } catch (error) {
      if (codeOf(error) !== undefined) return { kind: 'refused', error }
      throw error
    }
  }
}

export class Host {
  readonly name: string
  readonly world: World
  readonly clock: VirtualClock
  /** How far its clock is ahead. */
  offsetMs: number
  /** At the path of the database. */
  file: DatabaseFile | undefined
  state: LocalState = { spool: undefined, claims: undefined }
  daemon: Daemon | undefined
  /** Who waits for an event of the file system. */
  onChange: (() => void) | undefined
  /** Awaited before each look at the WAL, and before each segment is durable. */
  captureGate: (() => Promise<void>) | undefined
  diskGate: (() => Promise<void>) | undefined

  constructor(world: World, name: string, offsetMs: number) {
    this.world = world
    this.name = name
    this.offsetMs = offsetMs
    this.clock = new VirtualClock(world.time, () => this.offsetMs)
  }

  /** Puts a new file in the place of the one that is there. */
  place(head: Commit = { number: 0, parent: undefined }): void {
    this.file = { inode: this.world.next(), head, wal: { salt: this.world.next(), commits: [] } }
    this.#changed()
  }

  /** What the store gives, at the path. Whether there was something. */
  async restore(): Promise<boolean> {
    const restored = await this.world.restore()
    if (restored.kind === 'refused') return false
    this.place(restored.commit)
    return true
  }

  commit(): Commit {
    const file = this.file
    if (file === undefined) throw new Error('there is no database')
    const commit = { number: this.world.next(), parent: file.head }
    file.head = commit
    file.wal.commits.push(commit)
    this.#changed()
    return commit
  }

  /** Nobody on a frozen machine hears of it before it goes on. */
  #changed(): void {
    if (this.clock.isStopped) return
    const { onChange } = this
    this.onChange = undefined
    onChange?.()
  }

  /** The application copies everything back, and its next commit restarts the WAL. */
  checkpoint(): void {
    const file = this.file
    if (file !== undefined) file.wal = { salt: this.world.next(), commits: [] }
  }

  start(): Daemon {
    if (this.daemon !== undefined) throw new Error('it runs')
    this.daemon = new Daemon(this)
    return this.daemon
  }

  /** Lets the daemon store what there is, for so long at most. */
  async stop(withinMs = 5 * secondMs): Promise<void> {
    const daemon = this.daemon
    if (daemon === undefined) return
    daemon.stop.abort()
    for (let i = 0; i < 20 && !daemon.isOver; i += 1) await this.world.pass(withinMs / 20)
    await this.kill()
  }

  /** As by a power cut. */
  async kill(): Promise<void> {
    const daemon = this.daemon
    this.daemon = undefined
    this.clock.isStopped = false
    daemon?.kill.abort()
    daemon?.stop.abort()
    for (let i = 0; i < 100 && daemon?.isOver === false; i += 1) await this.world.pass(0)
    if (daemon?.isOver === false) throw new Error(`the daemon of ${this.name} does not end`)
  }

  /** Neither goes on nor ends, as if the network or the machine were away. */
  freeze(): void {
    this.clock.isStopped = true
  }

  thaw(): void {
    this.clock.isStopped = false
  }

  loseState(): void {
    this.state = { spool: undefined, claims: undefined }
  }

  /** A copy of disk and database, as a snapshot of a machine holds it. */
  copy(): Pick<Host, 'state' | 'file'> {
    const { state, file } = this
    const wal = file && { salt: file.wal.salt, commits: [...file.wal.commits] }
    return {
      state: {
        claims: state.claims,
        spool: state.spool && { ...state.spool, segments: [...state.spool.segments] },
      },
      file: file && wal && { ...file, wal },
    }
  }

  said(part: string): readonly Line[] {
    return this.world.lines.filter(
      ({ host, message }) => host === this.name && message.includes(part),
    )
  }
}

/** The loops of one process, from start to end. */
export class Daemon {
  readonly host: Host
  readonly stop = new AbortController()
  readonly kill = new AbortController()
  readonly feed = new GenerationFeed()
  readonly owner: OwnReplica
  readonly sync: SyncReplica
  readonly capture: SyncDatabase
  readonly over: Promise<unknown>
  isOver = false
  /** Why it would not have started. */
  refused: unknown

  constructor(host: Host) {
    this.host = host
    const { world, clock, state } = host
    const { client } = world
    const pid = world.next()
    const logger = loggerOf(world, host.name)
    const refusal = new Refusal(clock, { isAlone: true })
    const self = processOf(host.name, pid)
    this.owner = new OwnReplica({
      client,
      processes: {
        self,
        stateOf: ({ host: other, pid: number }) =>
          Promise.resolve(
            other !== host.name ? 'unknown' : number === pid && !this.isOver ? 'alive' : 'ended',
          ),
      },
      record: {
        load: () => Promise.resolve(state.claims),
        save: (claims) => Promise.resolve(void (state.claims = claims)),
      },
      clock,
      logger,
      refusal,
      randomBytes: (count) => world.randomBytes(count),
      leaseMs: undefined,
    })
    const database = new MemoryDatabase(host)
    const spool = new MemorySpool(host, database)
    const capture = (this.capture = new SyncDatabase({
      database,
      spool,
      record: {
        take: () => Promise.resolve(undefined),
        save: () => Promise.resolve(),
      },
      compressor,
      watcher: new HostWatcher(host, database),
      feed: this.feed,
      pages: undefined,
      clock,
      logger,
      randomBytes: (count) => world.randomBytes(count),
      settings: {
        sealIntervalMs: secondMs,
        monitorIntervalMs: 20 * secondMs,
        checkpointIntervalMs: undefined,
        minCheckpointPageCount: 1_000_000,
        maxCheckpointPageCount: undefined,
        maxSpoolBytes: 1024 * 1024,
        scrubIntervalMs: Number.POSITIVE_INFINITY,
        waitsForOthers: false,
      },
      openSlots: new Permits(8),
      refusal,
    }))
    const guarded = guardWrites(client, this.owner)
    this.sync = new SyncReplica({
      name: 'memory',
      database,
      client: {
        ...guarded,
        listGenerations: (signal) => {
          world.onLook?.(host)
          return guarded.listGenerations(signal)
        },
        startUpload: async (ref, options, signal) => {
          const upload = await guarded.startUpload(ref, options, signal)
          const { generation } = ref
          if (!world.begun.some((each) => each.generation === generation)) {
            world.begun.push({ generation, host: host.name, epoch: this.owner.epoch })
          }
          return upload
        },
      },
      spool,
      compressor,
      decode,
      feed: this.feed,
      clock,
      logger,
      syncIntervalMs: secondMs,
      snapshotIntervalMs: world.snapshotIntervalMs,
      retentionMs: undefined,
      snapshotSlots: new Permits(2),
      problems: new ReplicaProblems({ logger, clock, location: 'memory' }),
      owner: this.owner,
      storedRecord: {
        load: () => Promise.resolve(state.stored),
        save: (stored) => Promise.resolve(void (state.stored = stored)),
      },
    })
    const refused = refusal.orElse(new Promise<never>(() => undefined)).catch((error: unknown) => {
      this.refused = error
      this.kill.abort()
    })
    void refused
    this.over = Promise.all([
      capture.run(this.stop.signal, this.kill.signal),
      this.sync.run(this.stop.signal, this.kill.signal),
    ]).finally(() => {
      this.isOver = true
    })
  }

  get generation(): Generation | undefined {
    return this.feed.current?.generation
  }

  /** Whether all that the application has committed is stored. */
  get isStored(): boolean {
    const { current } = this.feed
    if (current === undefined) return false
    return this.sync.standing.hasStored({ generation: current.generation, position: current.end })
  }
}

function loggerOf(world: World, host: string): Logger {
  const say =
    (level: Line['level']) =>
    (fields: Readonly<Record<string, unknown>>, message: string): void => {
      world.lines.push({ host, level, message, fields })
    }
  const logger: Logger = {
    debug: () => undefined,
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    child: () => logger,
  }
  return logger
}

function processOf(host: string, pid: number): ProcessIdentity {
  return {
    host,
    machine: host,
    boot: host,
    pidNamespace: '',
    isContained: false,
    pid,
    startTicks: String(pid),
    lock: '',
    startedAtMs: 0,
  }
}

export function placeOf(generation: Generation, { index, offset }: WalPosition): string {
  return `${generation}/${index}:${offset}`
}

/** Offset behind so many commits of a WAL. */
function offsetBehind(count: number): number {
  return count === 0 ? 0 : headerBytes + count * frameBytes
}

/** A database as the program sees it: capturing, and nothing of SQLite. */
class MemoryDatabase implements ManagedDatabase {
  readonly path = '/data/app.db'
  readonly #host: Host
  #file: DatabaseFile | undefined
  #wal: Wal | undefined
  #index = 0
  #taken = 0
  #previous: { readonly offset: number; readonly number: number } | undefined
  #seen = ''
  /** By index and offset, in the generation that is captured. */
  readonly #commits = new Map<string, Commit>()

  constructor(host: Host) {
    this.#host = host
  }

  commitAt({ index, offset }: WalPosition): Commit | undefined {
    return this.#commits.get(`${index}:${offset}`)
  }

  open(): ReturnType<ManagedDatabase['open']> {
    const file = this.#host.file
    this.#file = file
    if (file === undefined) return Promise.resolve(undefined)
    const identity = { device: 1, inode: file.inode }
    const { path } = this
    return Promise.resolve({ identity, file: path, pageSizeBytes, formerJournalMode: 'wal' })
  }

  begin(cursor: CaptureCursor | undefined): ReturnType<ManagedDatabase['begin']> {
    const file = this.#opened()
    this.#wal = file.wal
    if (cursor === undefined) {
      this.#commits.clear()
      this.#index = 0
      this.#taken = 0
      this.#previous = undefined
      // What is begun in the local state is captured from here on.
      const generation = this.#host.state.spool?.generation
      if (generation !== undefined && file.wal.commits.length === 0) {
        this.#host.world.record(generation, { index: 0, offset: 0 }, file.head)
      }
      return Promise.resolve({ kind: 'continuous' })
    }
    const { salts, checksum, position } = cursor
    const count = (position.offset - headerBytes) / frameBytes
    const isSame =
      salts.salt1 === file.wal.salt && file.wal.commits[count - 1]?.number === checksum.s0
    if (!isSame) {
      const reason: BreakReason = 'wal restarted while it was not watched'
      return Promise.resolve({ kind: 'broken', reason, detail: 'salts changed' })
    }
    this.#index = position.index
    this.#taken = count
    return Promise.resolve({ kind: 'continuous' })
  }

  continueAs(): ReturnType<ManagedDatabase['continueAs']> {
    return Promise.reject(new Error('no page map is kept'))
  }

  async capture(): Promise<CaptureResult> {
    await this.#host.captureGate?.()
    return this.#capture()
  }

  #capture(): Promise<CaptureResult> {
    const file = this.#opened()
    let wal = this.#wal
    const runs: CapturedRun[] = []
    if (wal !== undefined && wal !== file.wal) {
      if (this.#taken < wal.commits.length) {
        return Promise.resolve({
          continuity: {
            kind: 'broken',
            reason: 'wal restarted while it was not watched',
            detail: 'its tail was not read',
          },
          runs,
          more: false,
          wal: { frameCount: 0, copiedBackCount: 0 },
          copiedCount: 0,
          changed: true,
          schemaCookie: 1,
          isWithinWal: false,
        })
      }
      if (file.wal.commits.length > 0) {
        if (this.#taken > 0) {
          const number = wal.commits[this.#taken - 1]?.number ?? 0
          this.#previous = { offset: offsetBehind(this.#taken), number }
          this.#index += 1
        }
        this.#taken = 0
        wal = file.wal
        this.#wal = wal
      }
    }
    for (const commit of wal?.commits.slice(this.#taken) ?? []) {
      runs.push(this.#run(commit, wal?.salt ?? 0))
      this.#taken += 1
      this.#commits.set(`${this.#index}:${offsetBehind(this.#taken)}`, commit)
    }
    const frameCount = file.wal.commits.length
    const seen = `${file.wal.salt} ${frameCount}`
    const changed = seen !== this.#seen
    this.#seen = seen
    return Promise.resolve({
      continuity: { kind: 'continuous' },
      runs,
      more: false,
      wal: { frameCount, copiedBackCount: frameCount },
      copiedCount: frameCount,
      changed,
      schemaCookie: 1,
      isWithinWal: false,
    })
  }

  #run(commit: Commit, salt: number): CapturedRun {
    const before = this.#wal?.commits[this.#taken - 1]?.number ?? 0
    const previous = this.#taken === 0 && this.#index > 0 ? this.#previous : undefined
    return {
      bytes: Buffer.from(`commit ${commit.number};`),
      start: { index: this.#index, offset: offsetBehind(this.#taken) },
      end: { index: this.#index, offset: offsetBehind(this.#taken + 1) },
      pageSizeBytes,
      bigEndian: false,
      salts: { salt1: salt, salt2: 0 },
      checksumBefore: { s0: before, s1: 0 },
      checksumAfter: { s0: commit.number, s1: 0 },
      databaseSizePages: 1,
      timeMs: this.#host.clock.now(),
      previousIndexEnd: previous && {
        offset: previous.offset,
        checksum: { s0: previous.number, s1: 0 },
      },
      source: undefined,
    }
  }

  checkpoint(): Promise<WalState & { readonly busy: boolean }> {
    return Promise.resolve({ frameCount: 0, copiedBackCount: 0, busy: false })
  }

  syncFile(): Promise<void> {
    return Promise.resolve()
  }

  finishWal(): Promise<CaptureResult> {
    return this.capture()
  }

  rest(): Promise<void> {
    return Promise.resolve()
  }

  hasFolder(): Promise<boolean> {
    return Promise.resolve(true)
  }

  openedElsewhere(): Promise<readonly string[]> {
    return Promise.resolve([])
  }

  look(): ReturnType<ManagedDatabase['look']> {
    const file = this.#host.file
    if (file === undefined) return Promise.resolve({ kind: 'gone' })
    if (file.inode !== this.#file?.inode) return Promise.resolve({ kind: 'replaced' })
    const signs = { ino: file.inode, size: 0, mtimeMs: 0, nlink: 1 }
    return Promise.resolve({ kind: 'same', signs })
  }

  fingerprint(): Promise<string> {
    const file = this.#host.file
    return Promise.resolve(`${file?.inode} ${file?.wal.salt} ${file?.wal.commits.length}`)
  }

  readPart(): Promise<Uint8Array> {
    return Promise.reject(new Error('nobody asks for a part'))
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the port reads a stream
  async *readFile(): AsyncIterable<Uint8Array> {
    yield Buffer.from(`database ${this.#file?.inode}`)
  }

  fileSizeBytes(): Promise<number> {
    return Promise.resolve(pageSizeBytes)
  }

  holdWriters(): Promise<boolean> {
    return Promise.resolve(false)
  }

  letWritersGo(): Promise<void> {
    return Promise.resolve()
  }

  async waitForLoss(signal: AbortSignal): Promise<void> {
    await aborted(signal)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  #opened(): DatabaseFile {
    if (this.#file === undefined) throw new Error('it is not open')
    return this.#file
  }
}

/** The local state of a host, which a process that dies leaves as it is. */
class MemorySpool implements Spool {
  readonly #host: Host
  readonly #database: MemoryDatabase
  /** Of this process: another one may have been put in its place since. */
  readonly #state: LocalState

  constructor(host: Host, database: MemoryDatabase) {
    this.#host = host
    this.#database = database
    this.#state = host.state
  }

  open(): ReturnType<Spool['open']> {
    const { spool } = this.#state
    if (spool === undefined) {
      return Promise.resolve({ state: undefined, reason: 'none', detail: 'it is empty' })
    }
    const segments = spool.segments.map(({ segment }) => segment)
    return Promise.resolve({ state: { ...spool, segments } })
  }

  beginGeneration(begun: Omit<SpoolState, 'segments'>): Promise<void> {
    this.#state.spool = { ...begun, segments: [] }
    return Promise.resolve()
  }

  startSegment(position: WalPosition, signal: AbortSignal): Promise<SegmentWriter> {
    const chunks: Uint8Array[] = []
    const generation = this.#current().generation
    return Promise.resolve({
      write: (...more) => Promise.resolve(void chunks.push(...more.map((each) => each.slice()))),
      finish: async (trailer) => {
        await this.#host.diskGate?.()
        signal.throwIfAborted()
        const bytes = Buffer.concat([...chunks, formatTrailer(trailer)])
        const segment: SpooledSegment = {
          generation,
          index: position.index,
          startOffset: position.offset,
          endOffset: trailer.endOffset,
          sizeBytes: bytes.length,
          walBytes: trailer.endOffset - position.offset,
          trailer,
        }
        const spool = this.#current()
        const replaced = spool.segments.filter(
          ({ segment: { index, startOffset } }) =>
            index !== position.index ||
            startOffset < position.offset ||
            startOffset >= trailer.endOffset,
        )
        spool.segments = [...replaced, { segment, bytes }].sort((a, b) =>
          comparePositions(startOf(a.segment), startOf(b.segment)),
        )
        for (const { endOffset } of trailer.captures) {
          const end = { index: position.index, offset: endOffset }
          this.#host.world.record(generation, end, this.#database.commitAt(end))
        }
        return segment
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    })
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the port reads a stream
  async *read(segment: SpooledSegment): AsyncIterable<Uint8Array> {
    const found = this.#current().segments.find((each) => each.segment === segment)
    if (found === undefined) throw new Error('the segment is gone')
    yield found.bytes.slice()
  }

  isIntact(): Promise<boolean> {
    return Promise.resolve(true)
  }

  isWhole(): Promise<boolean> {
    return Promise.resolve(true)
  }

  fileOf(): string {
    return ''
  }

  replace({ writer, trailer }: Parameters<Spool['replace']>[0]): Promise<SpooledSegment> {
    return writer.finish(trailer)
  }

  remove(segments: readonly SpooledSegment[]): Promise<void> {
    const spool = this.#current()
    spool.segments = spool.segments.filter(({ segment }) => !segments.includes(segment))
    return Promise.resolve()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve()
  }

  #current(): NonNullable<LocalState['spool']> {
    const { spool } = this.#state
    if (spool === undefined) throw new Error('no generation was begun')
    return spool
  }
}

function startOf({ index, startOffset }: SpooledSegment): WalPosition {
  return { index, offset: startOffset }
}

class HostWatcher implements ChangeWatcher {
  readonly #host: Host
  readonly #database: MemoryDatabase

  constructor(host: Host, database: MemoryDatabase) {
    this.#host = host
    this.#database = database
  }

  follow(): void {
    // Files are looked at by what they are.
  }

  arm(): Promise<void> {
    return Promise.resolve()
  }

  disarm(): Promise<void> {
    return Promise.resolve()
  }

  async waitForChange(timeoutMs: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController()
    const event = new Promise<void>((resolve) => {
      this.#host.onChange = resolve
    })
    const any = AbortSignal.any([signal, over.signal])
    await Promise.race([event, this.#host.clock.sleep(timeoutMs, any).catch(() => undefined)])
    over.abort()
  }

  async waitForSign(
    { before, intervalMs }: { before: string; intervalMs: number },
    signal: AbortSignal,
  ): Promise<void> {
    while (!signal.aborted && (await this.#database.fingerprint()) === before) {
      await this.waitForChange(intervalMs, signal)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve()
  }
}

/** Frames that are nothing but their content. */
const compressor: Compressor = {
  startFrame: () => ({
    header: () => new Uint8Array(0),
    block: (content) => content.slice(),
    end: () => new Uint8Array(0),
  }),
}

async function* decode(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  const bytes = Buffer.concat(await Array.fromAsync(source))
  const trailer = trailerIn(bytes)
  yield bytes.subarray(
    0,
    bytes.length - (trailer === undefined ? 0 : formatTrailer(trailer).length),
  )
}

const trailers = new WeakMap<Uint8Array, Trailer>()

/** Objects do not change. */
export function trailerIn(bytes: Uint8Array | undefined): Trailer | undefined {
  if (bytes === undefined) return undefined
  const known = trailers.get(bytes)
  if (known !== undefined) return known
  const tail = parseTrailer(bytes, Infinity)
  if (tail.kind !== 'trailer') return undefined
  trailers.set(bytes, tail.trailer)
  return tail.trailer
}

export function ownershipOf(world: World): ReturnType<typeof parseReplicaOwner> {
  const object = world.client.objects.get(ownerObjectName)
  return object && parseReplicaOwner(Buffer.from(object.bytes).toString())
}
