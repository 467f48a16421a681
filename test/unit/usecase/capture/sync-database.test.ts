import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { broken, type Continuity, continuous } from '../../../../src/domain/wal/break-reason.js'
import { type Generation } from '../../../../src/domain/wal/generation.js'
import { DatabaseError, LocalStateError, LostReaderError } from '../../../../src/domain/errors.js'
import { type WalPosition } from '../../../../src/domain/wal/position.js'
import { walHeaderBytes } from '../../../../src/domain/wal/wal-format.js'
import { GenerationFeed } from '../../../../src/usecase/backlog/generation-feed.js'
import { type ChangeWatcher } from '../../../../src/usecase/ports/change-watcher.js'
import { type Compressor } from '../../../../src/usecase/ports/compressor.js'
import { type Logger } from '../../../../src/usecase/ports/logger.js'
import {
  type CaptureCursor,
  type CapturedRun,
  type CaptureResult,
  type ManagedDatabase,
  type WalState,
} from '../../../../src/usecase/ports/managed-database.js'
import { type FileRecord, type RememberedFile } from '../../../../src/usecase/ports/file-record.js'
import { type SegmentWriter, type Spool } from '../../../../src/usecase/ports/spool.js'
import { never } from '../../../../src/kit/abort.js'
import { Permits } from '../../../../src/kit/permits.js'
import { Refusal } from '../../../../src/usecase/refusal.js'
import { SyncDatabase } from '../../../../src/usecase/capture/sync-database.js'
import { ManualClock } from '../../../support/manual-clock.ts'

const pageSizeBytes = 512
const frameBytes = pageSizeBytes + 24
const limit = 1000
const bound = 10_000

let clock: ManualClock
let calls: { readonly call: string; readonly atMs: number }[]
let lines: string[]
/** Calls that were made while another one of the same database was under way, which only a checkpoint may be. */
let overlapping: string[]

const called = (call: string): number[] =>
  calls.filter((each) => each.call === call).map(({ atMs }) => atMs)
const note = (call: string): void => void calls.push({ call, atMs: clock.monotonic() })

/** A database whose WAL a test writes by hand. */
class FakeDatabase implements ManagedDatabase {
  readonly path = '/data/app.db'
  wal: WalState = { frameCount: 0, copiedBackCount: 0 }
  /** What a checkpoint gets done; by default all. */
  copyBack = (): void => {
    this.wal = { ...this.wal, copiedBackCount: this.wal.frameCount }
  }
  /** What comes of finishing the WAL under the writer lock. */
  forced: 'done' | 'blocked' = 'done'
  failure: Error | undefined
  /** Another file is in its place. */
  isReplaced = false
  /** It was deleted. */
  isGone = false
  /** Whether what a deleted file still holds goes on where the last capture ended. */
  continuityOfRest: Continuity = continuous
  /** Of each commit that is captured. */
  runBytes = 100
  /** Its reader is lost. */
  lose = (): void => undefined
  loss = new DatabaseError('the thread that makes SQLite calls has ended')
  /** How long a checkpoint takes. */
  checkpointing: () => Promise<void> = () => turn()
  /** How long it takes until the writer lock is to be had. */
  holding: () => Promise<void> = () => turn()
  #underWay: string | undefined
  #runs: CapturedRun[] = []
  #seen = ''
  #index = -1
  #formerCount = 0
  #offset = 0

  /** The application commits so many frames, in a new WAL if it is told to restart it or there is none. */
  commit(frames: number, { restart = false } = {}): void {
    if (restart || this.#index < 0) {
      this.#index += 1
      this.#offset = 0
      this.#formerCount += this.wal.frameCount
      this.wal = { frameCount: 0, copiedBackCount: 0 }
    }
    this.wal = { ...this.wal, frameCount: this.wal.frameCount + frames }
    this.#append(frames)
  }

  #append(frames: number): void {
    const start = { index: this.#index, offset: this.#offset }
    this.#offset += (this.#offset === 0 ? walHeaderBytes : 0) + frames * frameBytes
    const zero = { s0: 0, s1: 0 }
    this.#runs.push({
      bytes: new Uint8Array(this.runBytes),
      start,
      end: { index: this.#index, offset: this.#offset },
      pageSizeBytes,
      bigEndian: false,
      salts: { salt1: this.#index, salt2: 0 },
      checksumBefore: zero,
      checksumAfter: zero,
      databaseSizePages: 10,
      timeMs: clock.now(),
      previousIndexEnd: undefined,
      source: undefined,
    })
  }

  async #alone<T>(call: string, work: () => Promise<T>): Promise<T> {
    if (this.#underWay !== undefined) overlapping.push(`${call} during ${this.#underWay}`)
    this.#underWay = call
    try {
      return await work()
    } finally {
      this.#underWay = undefined
    }
  }

  open(): ReturnType<ManagedDatabase['open']> {
    return this.#alone('open', async () => {
      await turn()
      note('open')
      if (this.failure !== undefined) throw this.failure
      if (this.isGone) return undefined
      return {
        identity: { device: 1, inode: 2 },
        file: this.path,
        pageSizeBytes,
        formerJournalMode: 'wal',
      }
    })
  }

  begin(cursor: CaptureCursor | undefined): ReturnType<ManagedDatabase['begin']> {
    return this.#alone('begin', async () => {
      await turn()
      if (cursor === undefined) {
        this.#index = 0
        this.#offset = 0
        this.#runs = []
        if (this.wal.frameCount > 0) this.#append(this.wal.frameCount)
      }
      return { kind: 'continuous' }
    })
  }

  continueAs(): ReturnType<ManagedDatabase['continueAs']> {
    return Promise.reject(new Error('no page map is kept'))
  }

  capture({ isDeleted = false } = {}): Promise<CaptureResult> {
    return this.#alone('capture', async () => {
      const captured = await this.#capture()
      return isDeleted ? { ...captured, continuity: this.continuityOfRest } : captured
    })
  }

  async #capture(): Promise<CaptureResult> {
    note('capture')
    await turn()
    const state = JSON.stringify(this.wal)
    const changed = this.#runs.length > 0 || state !== this.#seen
    this.#seen = state
    const runs = this.#runs.splice(0)
    return {
      continuity: { kind: 'continuous' },
      runs,
      more: false,
      wal: this.wal,
      copiedCount: this.#formerCount + this.wal.copiedBackCount,
      changed,
      schemaCookie: 1,
      isWithinWal: false,
    }
  }

  async checkpoint(): ReturnType<ManagedDatabase['checkpoint']> {
    note('checkpoint')
    await this.checkpointing()
    this.copyBack()
    return { ...this.wal, busy: false }
  }

  async syncFile(): Promise<void> {
    await turn()
    note('synced')
  }

  finishWal(): Promise<CaptureResult> {
    return this.#alone('finish-wal', async () => {
      note('finish-wal')
      const capture = await this.#capture()
      if (this.forced === 'done') this.wal = { ...this.wal, copiedBackCount: this.wal.frameCount }
      return { ...capture, wal: this.wal, more: this.forced === 'blocked' }
    })
  }

  async holdWriters(): Promise<boolean> {
    note('hold')
    await this.holding()
    note('held')
    return true
  }

  async letWritersGo(): Promise<void> {
    await turn()
  }

  rest(): Promise<void> {
    return this.#alone('rest', async () => {
      await turn()
      note('rest')
    })
  }

  async hasFolder(): Promise<boolean> {
    await turn()
    return true
  }

  signs = { ino: 2, size: 0, mtimeMs: 0, nlink: 1 }

  openedElsewhere(): Promise<readonly string[]> {
    return Promise.resolve([])
  }

  async look(): ReturnType<ManagedDatabase['look']> {
    if (this.isReplaced) return { kind: 'replaced' }
    if (this.isGone) return { kind: 'gone' }
    await turn()
    return { kind: 'same', signs: this.signs }
  }

  async fingerprint(): Promise<string> {
    await turn()
    return JSON.stringify(this.wal)
  }

  readPart(): Promise<Uint8Array> {
    return Promise.resolve(new Uint8Array())
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the port reads a stream
  async *readFile(): AsyncIterable<Uint8Array> {
    yield new Uint8Array(pageSizeBytes)
  }

  async fileSizeBytes(): Promise<number> {
    await turn()
    return pageSizeBytes
  }

  async waitForLoss(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.lose = () => reject(this.loss)
      signal.addEventListener('abort', () => resolve())
    })
  }

  close(): Promise<void> {
    return this.#alone('close', async () => {
      await turn()
      note('close')
    })
  }
}

/** A spool in memory. */
class FakeSpool implements Spool {
  /** Awaited before a segment is durable. */
  disk: () => Promise<void> = () => turn()
  /** Awaited before a part of a segment is written. */
  writing: () => Promise<void> = () => turn()
  #generation: Generation | undefined

  async open(): ReturnType<Spool['open']> {
    await turn()
    return { state: undefined, reason: 'none', detail: '' }
  }

  async beginGeneration({ generation }: { generation: Generation }): Promise<void> {
    await turn()
    this.#generation = generation
  }

  async startSegment(position: WalPosition): Promise<SegmentWriter> {
    await turn()
    const generation = this.#generation
    if (generation === undefined) throw new Error('there is no generation')
    return {
      write: () => this.writing(),
      finish: async (trailer) => {
        await this.disk()
        note('sealed')
        const { index, offset: startOffset } = position
        const { endOffset } = trailer
        const walBytes = endOffset - startOffset
        return { generation, index, startOffset, endOffset, sizeBytes: 100, walBytes, trailer }
      },
      [Symbol.asyncDispose]: () => turn(),
    }
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the port reads a stream
  async *read(): AsyncIterable<Uint8Array> {
    yield new Uint8Array(0)
  }

  async isIntact(): Promise<boolean> {
    await turn()
    return true
  }

  async isWhole(): Promise<boolean> {
    await turn()
    return true
  }

  fileOf(): string {
    return ''
  }

  replace(): never {
    throw new Error('nothing is merged here')
  }

  async remove(): Promise<void> {
    await turn()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await turn()
  }
}

class FakeWatcher implements ChangeWatcher {
  #wake: (() => void) | undefined

  /** An event of the file system. */
  event(): void {
    this.#wake?.()
  }

  follow(): void {}

  async arm(): Promise<void> {
    await turn()
  }

  async disarm(): Promise<void> {
    await turn()
  }

  async waitForChange(timeoutMs: number, signal: AbortSignal): Promise<void> {
    note('idle')
    const event = new Promise<void>((resolve) => (this.#wake = resolve))
    await Promise.race([event, clock.sleep(timeoutMs, signal).catch(() => undefined)])
  }

  async waitForSign(
    { before, intervalMs }: { before: string; intervalMs: number },
    signal: AbortSignal,
  ): Promise<void> {
    note('idle')
    const event = new Promise<'event'>((resolve) => (this.#wake = () => resolve('event')))
    for (;;) {
      const look = clock.sleep(intervalMs, signal).catch(() => undefined)
      if ((await Promise.race([event, look])) === 'event') return
      if (signal.aborted || (await database.fingerprint()) !== before) return
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await turn()
  }
}

const compressor: Compressor = {
  startFrame: () => ({
    header: () => new Uint8Array(7),
    block: (content) => content.slice(),
    end: () => new Uint8Array(8),
  }),
}

const logger: Logger = {
  debug: () => undefined,
  info: (_, message) => void lines.push(message),
  warn: (_, message) => void lines.push(message),
  error: (fields, message) => void lines.push(message, String(fields['err'])),
  child: () => logger,
}

let remembered: RememberedFile | undefined
const record: FileRecord = {
  take: async () => {
    await turn()
    const taken = remembered
    remembered = undefined
    return taken
  },
  save: async (file) => {
    await turn()
    remembered = file
  },
}

let database: FakeDatabase
let spool: FakeSpool
let watcher: FakeWatcher
let feed: GenerationFeed
let stop: AbortController
let sync: SyncDatabase
let running: Promise<void>

beforeEach(() => {
  clock = new ManualClock()
  calls = []
  lines = []
  overlapping = []
  feed = new GenerationFeed()
  database = new FakeDatabase()
  spool = new FakeSpool()
  watcher = new FakeWatcher()
  stop = new AbortController()
  sync = new SyncDatabase({
    database,
    spool,
    record,
    compressor,
    watcher,
    feed,
    pages: undefined,
    clock,
    logger,
    randomBytes: (count) => new Uint8Array(count),
    settings: {
      sealIntervalMs: 1000,
      monitorIntervalMs: 1000,
      checkpointIntervalMs: 60_000,
      minCheckpointPageCount: limit,
      maxCheckpointPageCount: bound,
      maxSpoolBytes: 1e9,
      scrubIntervalMs: Number.POSITIVE_INFINITY,
      waitsForOthers: false,
    },
    openSlots: new Permits(1),
    refusal: new Refusal(clock, { isAlone: true }),
  })
  running = sync.run(stop.signal, new AbortController().signal)
})

afterEach(async () => {
  stop.abort()
  await clock.advance(100_000)
  await running
  expect(overlapping).toEqual([])
})

/** The times from `fromMs` on at which `call` was made. */
const since = (call: string, fromMs: number): number[] =>
  called(call).filter((atMs) => atMs >= fromMs)

describe('looking', () => {
  test('goes on every 25 ms for a second after the last change, then rests until an event', async () => {
    await clock.advance(5000)
    expect(called('rest').length).toBeGreaterThan(0)
    const idleAt = clock.monotonic()
    await clock.advance(10_000)
    expect(since('capture', idleAt)).toEqual([])
    database.commit(3)
    const committedAt = clock.monotonic()
    watcher.event()
    await clock.advance(900)
    const looks = since('capture', committedAt)
    expect(looks[0]).toBe(committedAt)
    expect(looks.length).toBeGreaterThanOrEqual(900 / 25)
    expect(since('idle', committedAt)).toEqual([])
    await clock.advance(2000)
    expect(since('sealed', committedAt)).toHaveLength(1)
    expect(since('idle', committedAt)).not.toEqual([])
    expect(since('idle', committedAt)[0]! - committedAt).toBeLessThan(2200)
  })

  test('notices within the monitor interval what no event announced', async () => {
    await clock.advance(5000)
    database.commit(3)
    const committedAt = clock.monotonic()
    await clock.advance(1100)
    expect(since('capture', committedAt)).not.toEqual([])
    await clock.advance(1100)
    expect(since('sealed', committedAt)).toHaveLength(1)
  })

  test('goes on every 2 ms beside an application that restarts its WAL again and again, as writers wait for that', async () => {
    for (let i = 0; i < 4; i += 1) {
      database.commit(3, { restart: true })
      watcher.event()
      await clock.advance(100)
    }
    const restartedAt = clock.monotonic()
    await clock.advance(100)
    expect(since('capture', restartedAt).length).toBeGreaterThanOrEqual(40)
    await clock.advance(2000)
    const laterAt = clock.monotonic()
    database.commit(3)
    watcher.event()
    await clock.advance(100)
    expect(since('capture', laterAt).length).toBeLessThan(10)
  })

  test('and renewing goes on while a segment waits for a slow disk', async () => {
    await clock.advance(2000)
    let sync = (): void => undefined
    spool.disk = () => new Promise((resolve) => (sync = resolve))
    database.commit(3)
    watcher.event()
    await clock.advance(1500)
    const waitingSince = clock.monotonic()
    for (let i = 0; i < 50; i += 1) {
      database.commit(3)
      await clock.advance(100)
    }
    expect(called('sealed')).toEqual([])
    expect(since('capture', waitingSince).length).toBeGreaterThanOrEqual(5000 / 25)
    spool.disk = () => turn()
    sync()
    await clock.advance(2000)
    // All that came meanwhile is one segment.
    expect(called('sealed')).toHaveLength(2)
  })
})

describe('whoever waits for all to be captured', () => {
  /** Fifty that ask now, and what they are told. */
  function askFifty(): { readonly positions: (WalPosition | undefined)[]; refused: number } {
    const told = { positions: new Array<WalPosition | undefined>(), refused: 0 }
    for (let i = 0; i < 50; i += 1) {
      feed.barrier().then(
        ({ position }) => told.positions.push(position),
        () => (told.refused += 1),
      )
    }
    return told
  }
  const fifty = (frames: number): WalPosition[] =>
    Array.from({ length: 50 }, () => ({ index: 0, offset: walHeaderBytes + frames * frameBytes }))

  test('is answered with all the others by the next look', async () => {
    await clock.advance(5000)
    database.commit(3)
    const askedAt = clock.monotonic()
    const told = askFifty()
    await clock.advance(10)
    expect(told).toEqual({ positions: fifty(3), refused: 0 })
    expect(since('capture', askedAt).length).toBeLessThanOrEqual(2)
    expect(since('sealed', askedAt)).toHaveLength(1)
  })

  test('is answered with the next segment when he rides, and none is finished early for it', async () => {
    await clock.advance(5000)
    database.commit(3)
    watcher.event()
    await clock.advance(100)
    expect(called('sealed')).toHaveLength(1)
    database.commit(3)
    const positions: WalPosition[] = []
    void feed.barrier({ rides: true }).then(({ position }) => positions.push(position))
    await clock.advance(500)
    expect(called('sealed')).toHaveLength(1)
    expect(positions).toEqual([])
    await clock.advance(500)
    expect(called('sealed')).toHaveLength(2)
    expect(positions).toEqual(fifty(6).slice(0, 1))
  })

  test('does not wait for the next look at a busy database', async () => {
    await clock.advance(5000)
    database.commit(3)
    watcher.event()
    await clock.advance(1005)
    database.commit(3)
    const told = askFifty()
    await clock.advance(1)
    expect(told).toEqual({ positions: fifty(6), refused: 0 })
  })

  test('is not told of the file that was, when another is in its place', async () => {
    await clock.advance(5000)
    database.commit(3)
    watcher.event()
    await clock.advance(1005)
    database.isReplaced = true
    const told = askFifty()
    await clock.advance(1)
    expect(told).toEqual({ positions: [], refused: 50 })
  })

  test('is answered at the end, which a slow disk holds up, and after it', async () => {
    await clock.advance(2000)
    let sync = (): void => undefined
    spool.disk = () => new Promise((resolve) => (sync = resolve))
    database.commit(3)
    watcher.event()
    await clock.advance(1500)
    const before = askFifty()
    await clock.advance(100)
    stop.abort()
    const after = askFifty()
    await clock.advance(1000)
    expect([before.positions, after.positions]).toEqual([[], []])
    spool.disk = () => turn()
    sync()
    await clock.advance(1000)
    await running
    const late = askFifty()
    await clock.advance(0)
    for (const told of [before, after, late]) {
      expect(told).toEqual({ positions: fifty(3), refused: 0 })
    }
  })

  test('is told when that fails, and when it has ended without success', async () => {
    await clock.advance(2000)
    spool.disk = () => Promise.reject(new LocalStateError('the disk is full'))
    database.commit(3)
    const first = askFifty()
    await clock.advance(100)
    expect(first).toEqual({ positions: [], refused: 50 })
    const second = askFifty()
    stop.abort()
    await clock.advance(40_000)
    await running
    const late = askFifty()
    await clock.advance(0)
    expect(second).toEqual({ positions: [], refused: 50 })
    expect(late).toEqual({ positions: [], refused: 50 })
  })
})

test('one call is made of a database at a time, but for checkpoints, whatever happens at once', async () => {
  let state = 1
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 4_294_967_296) * below)
  }
  const { signal } = new AbortController()
  database.checkpointing = () => clock.sleep(random(200), signal)
  spool.disk = () => clock.sleep(random(200), signal)
  let checkpointed = 0
  database.copyBack = () => {
    checkpointed += 1
    // Sometimes all is copied back, and then the writer lock is not taken.
    const left = checkpointed % 7 === 0 ? 0 : 10
    if (left > 0) database.commit(left)
    const { frameCount } = database.wal
    database.wal = { frameCount, copiedBackCount: frameCount - left }
  }
  for (let round = 0; round < 300; round += 1) {
    database.commit(1 + random(400))
    if (random(2) === 0) watcher.event()
    for (let i = random(3); i > 0; i -= 1) feed.barrier().catch(() => undefined)
    if (random(30) === 0) feed.requestNewGeneration('replica is ahead of the local state', '')
    await clock.advance(random(150))
  }
  expect(called('checkpoint').length).toBeGreaterThan(10)
  expect(called('finish-wal').length).toBeGreaterThan(0)
  expect(called('capture').length).toBeGreaterThan(300)
  expect(overlapping).toEqual([])
})

describe('copying pages back', () => {
  test('is left until the WAL has as many pages as the limit, and then takes one try', async () => {
    database.commit(limit - 1)
    await clock.advance(500)
    expect(called('checkpoint')).toEqual([])
    database.commit(1)
    await clock.advance(500)
    expect(called('checkpoint')).toHaveLength(1)
    await clock.advance(50_000)
    expect(called('checkpoint')).toHaveLength(1)
  })

  test('is due after the interval for less than that', async () => {
    database.commit(5)
    await clock.advance(55_000)
    expect(called('checkpoint')).toEqual([])
    await clock.advance(10_000)
    expect(called('checkpoint')).toHaveLength(1)
  })

  test('takes six tries a round, and ever longer pauses, while a reader pins the WAL', async () => {
    const copyAll = database.copyBack
    database.copyBack = () => undefined
    database.commit(limit)
    await clock.advance(100)
    expect(called('checkpoint')).toHaveLength(6)
    for (let i = 0; i < 600; i += 1) {
      database.commit(1)
      await clock.advance(100)
    }
    const rounds = called('checkpoint').length / 6
    expect(rounds).toBeGreaterThanOrEqual(8)
    expect(rounds).toBeLessThanOrEqual(12)
    expect(called('finish-wal')).toEqual([])
    expect(sync.status().isWalPinned).toBe(true)
    database.copyBack = copyAll
    for (let i = 0; i < 110; i += 1) {
      database.commit(1)
      await clock.advance(100)
    }
    expect(sync.status().isWalPinned).toBe(false)
  })

  test('is left to an application that restarts the WAL itself, up to four times the limit', async () => {
    database.commit(10)
    await clock.advance(100)
    database.commit(10, { restart: true })
    await clock.advance(100)
    database.commit(10, { restart: true })
    await clock.advance(100)
    database.commit(3 * limit)
    await clock.advance(1000)
    expect(called('checkpoint')).toEqual([])
    database.commit(limit)
    await clock.advance(1000)
    expect(called('checkpoint')).toHaveLength(1)
    // That restart is ours: for a minute after its own last one the application is still trusted, and no longer.
    await clock.advance(61_000)
    database.commit(limit, { restart: true })
    watcher.event()
    await clock.advance(1000)
    expect(called('checkpoint')).toHaveLength(2)
  })
})

describe('the writer lock', () => {
  /** Copying back reaches what was captured, but never all: the application writes on. */
  const flatOut = (): void => {
    const copied = database.wal.frameCount
    database.commit(10)
    database.wal = { ...database.wal, copiedBackCount: copied }
  }

  test('is taken only past the bound', async () => {
    database.copyBack = flatOut
    database.commit(bound - 200)
    await clock.advance(200)
    expect(called('checkpoint').length).toBeGreaterThanOrEqual(6)
    expect(called('finish-wal')).toEqual([])
    database.commit(300)
    await clock.advance(2000)
    expect(called('finish-wal').length).toBeGreaterThan(0)
  })

  test('is taken only when what was copied back is on the disk: SQLite would sync it under the lock', async () => {
    database.copyBack = flatOut
    database.commit(2 * bound)
    await clock.advance(10_000)
    const order = calls.map(({ call }) => call)
    const taken = order.flatMap((call, at) => (call === 'finish-wal' ? at : []))
    expect(taken.length).toBeGreaterThan(0)
    for (const at of taken) {
      expect(order.lastIndexOf('synced', at)).toBeGreaterThan(order.lastIndexOf('checkpoint', at))
    }
  })

  test('is useless, and not taken, while a reader of the application pins the WAL', async () => {
    database.copyBack = () => database.commit(10)
    database.commit(4 * bound)
    await clock.advance(60_000)
    expect(called('checkpoint').length).toBeGreaterThan(6)
    expect(called('finish-wal')).toEqual([])
    expect(called('hold')).toEqual([])
  })

  test('is taken again and again, in turns with the writers, while the WAL is several times its limit', async () => {
    database.copyBack = flatOut
    database.forced = 'blocked'
    database.commit(3 * bound)
    await clock.advance(1000)
    const from = clock.monotonic()
    await clock.advance(5000)
    const forced = since('finish-wal', from)
    expect(forced.length).toBeGreaterThan(10)
    const held = since('hold', from)
    expect(held.length).toBeGreaterThan(10)
    for (const atMs of forced) {
      const before = held.filter((heldAtMs) => heldAtMs < atMs).at(-1) ?? 0
      expect(atMs - before).toBeGreaterThanOrEqual(50)
    }
    expect(sync.status().isWalPinned).toBe(false)
    const slowed = 'the wal grows faster than it is captured: writers are slowed down'
    expect(lines.filter((line) => line === slowed)).toHaveLength(1)
    database.forced = 'done'
    database.commit(1, { restart: true })
    await clock.advance(1000)
    const restartedAt = clock.monotonic()
    await clock.advance(5000)
    expect(since('hold', restartedAt)).toEqual([])
  })

  test('is waited for while capturing goes on, so that little is left to do under it', async () => {
    database.copyBack = flatOut
    database.holding = () => clock.sleep(50, never)
    database.commit(bound)
    await clock.advance(2000)
    const [heldAt] = called('held')
    const waited = called('capture').filter((atMs) => atMs > heldAt! - 50 && atMs < heldAt!)
    expect(waited.length).toBeGreaterThanOrEqual(8)
    expect(called('finish-wal')[0]).toBe(heldAt)
  })

  test('holds a writer off that outran us before, as soon as the WAL is past its limit, and no round is tried', async () => {
    database.copyBack = flatOut
    database.commit(3 * bound)
    await clock.advance(1000)
    expect(called('finish-wal').length).toBeGreaterThan(0)
    database.commit(1, { restart: true })
    await clock.advance(500)
    const from = clock.monotonic()
    database.commit(bound - 100)
    await clock.advance(500)
    expect(since('checkpoint', from)).toEqual([])
    database.commit(100)
    await clock.advance(500)
    expect(since('hold', from).length).toBeGreaterThan(0)
  })

  test('is tried ever more rarely when it does not help', async () => {
    database.copyBack = flatOut
    database.forced = 'blocked'
    database.commit(bound)
    for (let i = 0; i < 1200; i += 1) {
      database.commit(1)
      await clock.advance(100)
    }
    const tries = called('finish-wal')
    expect(tries.length).toBeGreaterThanOrEqual(3)
    expect(tries.length).toBeLessThanOrEqual(8)
    const pauses = tries.slice(1).map((atMs, i) => atMs - tries[i]!)
    expect(pauses.at(-1)).toBeGreaterThan(2 * pauses[0]!)
  })
})

describe('a failure', () => {
  test('of the spool is said once, tried again ever later without holding a reader, and its end is said', async () => {
    await clock.advance(2000)
    const failure = new LocalStateError('cannot write /data/x: no space left on device (ENOSPC)')
    spool.disk = () => Promise.reject(failure)
    database.commit(3)
    watcher.event()
    await clock.advance(120_000)
    expect(lines.filter((line) => line === 'sync error')).toHaveLength(1)
    expect(lines).not.toContain('sync recovered')
    const opened = called('open').slice(1)
    expect(opened.length).toBeGreaterThanOrEqual(6)
    expect(opened.length).toBeLessThanOrEqual(14)
    // But for the first, the reader is let go right away.
    const closed = called('close')
    expect(closed.length).toBeGreaterThanOrEqual(opened.length - 2)
    spool.disk = () => turn()
    await clock.advance(40_000)
    expect(lines.at(-1)).toBe('sync recovered')
    expect(called('sealed')).toHaveLength(1)
    // Nothing was stored of the generation that was begun: it is still the one.
    expect(lines.filter((line) => line === 'new generation')).toHaveLength(1)
  })

  test('of a disk that does not answer lets the reader go, and what it held up is captured when it answers', async () => {
    await clock.advance(2000)
    const disk = Promise.withResolvers<undefined>()
    spool.writing = () => disk.promise
    calls = []
    database.runBytes = 1024 * 1024
    database.commit(3)
    watcher.event()
    await clock.advance(1900)
    expect(called('close')).toEqual([])
    await clock.advance(200)
    expect(called('close')).toHaveLength(1)
    await clock.advance(60_000)
    // Nothing is opened again that nobody could renew.
    expect(called('open')).toEqual([])
    expect(lines.filter((line) => line.startsWith('the disk of the local state'))).toHaveLength(1)
    spool.writing = () => turn()
    disk.resolve(undefined)
    await clock.advance(3000)
    expect(called('open').length).toBeGreaterThan(0)
    expect(called('sealed').length).toBeGreaterThan(0)
  })

  test('of the disk does not make commits younger that were captured before it, or not at all', async () => {
    await clock.advance(2000)
    spool.disk = () => Promise.reject(new LocalStateError('no space left on device'))
    database.commit(3)
    watcher.event()
    for (let seconds = 1; seconds <= 60; seconds += 1) {
      await clock.advance(1000)
      const { unsealedForMs = 0, blindForMs = 0 } = sync.status()
      expect(Math.max(unsealedForMs, blindForMs)).toBeGreaterThanOrEqual(seconds * 1000 - 100)
    }
    spool.disk = () => turn()
    await clock.advance(40_000)
    expect(called('sealed')).toHaveLength(1)
    expect(sync.status().unsealedForMs).toBeUndefined()
    expect(sync.status().blindForMs).toBeUndefined()
  })

  test('to open is said once, and pauses begin short again after it has worked', async () => {
    await clock.advance(2000)
    spool.disk = () => Promise.reject(new LocalStateError('once'))
    database.commit(1)
    watcher.event()
    await clock.advance(50)
    spool.disk = () => turn()
    database.failure = new DatabaseError('database is locked')
    await clock.advance(100_000)
    expect(lines.filter((line) => line === 'sync error')).toHaveLength(2)
    database.failure = undefined
    await clock.advance(40_000)
    expect(lines.at(-1)).toBe('sync recovered')
    spool.disk = () => Promise.reject(new LocalStateError('again'))
    database.commit(1, { restart: true })
    watcher.event()
    const opens = called('open').length
    await clock.advance(2500)
    expect(called('open').length).toBeGreaterThan(opens)
  })

  test('of the thread that holds the reader opens the database again, also at rest', async () => {
    await clock.advance(5000)
    expect(called('open')).toHaveLength(1)
    database.lose()
    await clock.advance(1000)
    expect(called('open')).toHaveLength(2)
    expect(lines).toContain('DatabaseError: the thread that makes SQLite calls has ended')
  })

  test('of the process that holds the reader is no error where another database has ended it', async () => {
    await clock.advance(5000)
    database.loss = new LostReaderError('the process that makes SQLite calls has ended')
    database.lose()
    await clock.advance(1000)
    expect(called('open')).toHaveLength(2)
    expect(lines).not.toContain('sync error')
    expect(sync.status().state).toBe('replicating')
  })

  test.each([
    [
      'does not go on where the last capture ended',
      () =>
        (database.continuityOfRest = broken(
          'wal restarted during the first look',
          'its salts are others',
        )),
      'DatabaseError: its salts are others',
    ],
    [
      'finds no room in the spool',
      () => (spool.disk = () => Promise.reject(new LocalStateError('no space left on device'))),
      'LocalStateError: no space left on device',
    ],
    [
      'finds no room for a part of a segment, for a moment',
      () => {
        // More than is gathered before it is written.
        database.runBytes = 100_000
        spool.writing = () => {
          spool.writing = () => turn()
          return Promise.reject(new LocalStateError('no space left on device'))
        }
      },
      'LocalStateError: no space left on device',
    ],
  ])('where the WAL of a deleted database %s is one error', async (_how, fail, why) => {
    database.commit(3)
    await clock.advance(3000)
    const sealed = called('sealed').length
    fail()
    database.commit(3)
    database.isGone = true
    watcher.event()
    await clock.advance(3000)
    const text = 'the last commits of the deleted database could not be read and kept'
    expect(lines.filter((line) => line === text)).toHaveLength(1)
    expect(lines[lines.indexOf(text) + 1]).toBe(why)
    // What a part is missing of is not stored.
    if (why.startsWith('LocalState')) expect(called('sealed')).toHaveLength(sealed)
  })

  test('of checkpoints that lasts is said once and in the status, and so is its end', async () => {
    database.checkpointing = () => Promise.reject(new Error('disk I/O error'))
    database.commit(limit)
    await clock.advance(1500)
    expect(sync.status().copyingProblem).toBeUndefined()
    await clock.advance(60_000)
    expect(sync.status().copyingProblem).toBe('disk I/O error')
    expect(lines.filter((line) => line === 'checkpoints keep failing')).toHaveLength(1)
    database.checkpointing = () => turn()
    await clock.advance(30_000)
    expect(sync.status().copyingProblem).toBeUndefined()
    expect(lines.at(-1)).toBe('checkpoints work again')
  })

  test.each([
    ['fails, in a checkpoint round', () => Promise.reject(new Error('disk I/O error'))],
    ['leaves frames out', (result: CaptureResult) => Promise.resolve({ ...result, runs: [] })],
  ])('of a capture that %s leaves no gap', async (_how, answer) => {
    database.commit(10)
    await clock.advance(3000)
    const capture = database.capture.bind(database)
    const begin = database.begin.bind(database)
    /** What was captured from the failure on: all of it comes again from where the spool ends. */
    const since: CapturedRun[] = []
    let again: readonly CapturedRun[] = []
    let hasFailed = false
    database.copyBack = () => {
      if (!hasFailed) database.commit(5)
    }
    database.capture = async () => {
      const result = await capture()
      const isTheOne = !hasFailed && called('synced').length === 1
      hasFailed ||= isTheOne
      if (hasFailed) since.push(...result.runs)
      if (isTheOne) return answer(result)
      const runs = [...again, ...result.runs]
      again = []
      return { ...result, runs }
    }
    database.begin = (cursor) => {
      again = since.splice(0)
      return begin(cursor)
    }
    database.commit(limit)
    watcher.event()
    await clock.advance(3000)
    database.commit(7)
    watcher.event()
    await clock.advance(5000)
    expect(hasFailed).toBe(true)
    expect(lines.filter((line) => line === 'sync error')).toHaveLength(1)
    const segments = feed.current?.segments ?? []
    expect(segments.slice(1).map(({ startOffset }) => startOffset)).toEqual(
      segments.slice(0, -1).map(({ endOffset }) => endOffset),
    )
    expect(segments.at(-1)?.endOffset).toBe(walHeaderBytes + (10 + limit + 5 + 7) * frameBytes)
  })
})
