/**
 * A model of a replica's life: commits, snapshots, generations that end, clocks that are wrong and are set, stores whose
 * clocks are others, objects that get lost, stores that lie and processes that die at any request, with retention at random
 * moments. Everything that was ever stored is remembered, with the true time of it. After each run of retention every
 * promised moment has to restore to the same commit as if nothing had been deleted; and every commit of the window in
 * true time, whatever the clocks said, has to be restorable, as has the one that was the newest when that began.
 */
import {
  EnforceRetention,
  type EnforceRetentionOptions,
  type RetentionReport,
} from '../../src/usecase/retention/enforce-retention.ts'
import { ReplicaError } from '../../src/domain/errors.ts'
import { formatGeneration, type Generation } from '../../src/domain/wal/generation.ts'
import { comparePositions, type Position, type WalPosition } from '../../src/domain/wal/position.ts'
import { formatObjectPath } from '../../src/domain/stored/replica-layout.ts'
import { graceOf, type RetentionRules } from '../../src/domain/policy/retention-policy.ts'
import { type NewestSnapshot } from '../../src/domain/policy/snapshot-schedule.ts'
import { type ClockMemory, type Sent } from '../../src/domain/policy/wall-clock.ts'
import { type SnapshotTrailer, type WalSegmentTrailer } from '../../src/domain/stored/trailer.ts'
import { type Clock } from '../../src/usecase/ports/clock.ts'
import { silent } from './silent-logger.ts'
import {
  type RecordedDeletion,
  type RetentionRecord,
} from '../../src/usecase/ports/retention-record.ts'
import { MemoryReplicaClient } from './memory-replica-client.ts'
import { objectOf } from './object-of.ts'

type Trailer = SnapshotTrailer | WalSegmentTrailer
interface Stored {
  readonly path: string
  readonly trailer: Trailer
}
interface Line {
  readonly generation: Generation
  index: number
  offset: number
  timeMs: number
  /** Where the index before ends. */
  previousEnd: number | undefined
  /** A snapshot being read. */
  snapshot: { readonly index: number; readonly startMs: number; readonly jumps: number } | undefined
}
/** A commit, and when it was made in truth. */
interface Commit {
  readonly generation: Generation
  readonly end: WalPosition
  readonly trueMs: number
  /** By the writer whose generation was the current one. */
  readonly isCurrent: boolean
  /** A generation began: the database is as after the last commit of the one before. */
  readonly isSame: boolean
}
interface Flight {
  readonly startedMs: number
  readonly jumps: number
  readonly paths: readonly string[]
}

class Crash extends Error {}
const minuteMs = 60_000
const hourMs = 60 * minuteMs
/** By how much a clock is set wrong. */
const wrongClocksMs = [-2, 2, 0.5, -0.2, 0.03, 26, -26].map((hours) => hours * hourMs)
/** Numbers from 0 up to 1 that a seed decides. */
export function randomFrom(seed: number): () => number {
  let state = (seed * 2654435761) >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export interface HistoryOutcome {
  readonly runs: number
  readonly crashes: number
  readonly failures: number
  readonly deleted: number
  readonly momentsChecked: number
  readonly restoresInFlight: number
  readonly losses: number
  readonly commitsChecked: number
  /** Runs that found their clock ahead of the store's. */
  readonly refusals: number
}

export class RetentionHistory {
  readonly client: MemoryReplicaClient
  readonly rules: RetentionRules
  readonly #random: () => number
  /** Everything that was ever stored and not lost by other means. */
  readonly #ever = new Map<string, Stored>()
  readonly #lines: Line[] = []
  #current: Line | undefined
  /** True time. */
  #nowMs = Date.UTC(2026, 0, 5)
  #skewMs: number
  /** Of the store's clock; undefined: it has none, as a folder on the same machine. */
  #storeSkewMs: number | undefined
  #bootedMs = this.#nowMs
  #boot = 0
  #clockMemory: ClockMemory | undefined
  #sent: Sent | undefined
  readonly #commits: Commit[] = []
  /** Commits before this moment of true time are not promised any more, but for the last of them. */
  #truePromiseMs = 0
  #setBackMs = 0
  #readSkewMs = 0
  #jumps = 0
  /** Moments before this are not promised any more. */
  #promisedFromMs = 0
  #flights: Flight[] = []
  #recorded: readonly RecordedDeletion[] = []
  #retention: EnforceRetention
  #crashIn = Number.POSITIVE_INFINITY
  #failChance = 0
  #lieChance = 0
  readonly #count = {
    runs: 0,
    crashes: 0,
    failures: 0,
    deleted: 0,
    momentsChecked: 0,
    restoresInFlight: 0,
    losses: 0,
    commitsChecked: 0,
    refusals: 0,
  }

  /** With rules given, all clocks are right; else some are not. */
  constructor(seed: number, rules?: RetentionRules) {
    this.#random = randomFrom(seed)
    const isRight = rules !== undefined
    this.#skewMs = isRight || this.#chance(0.6) ? 0 : this.#pick(wrongClocksMs)
    const hasClock = isRight || this.#chance(0.6)
    this.#storeSkewMs = hasClock ? 0 : undefined
    if (!isRight && hasClock && this.#chance(0.4))
      this.#storeSkewMs = this.#pick([3 * hourMs, -3 * hourMs])
    this.client = new MemoryReplicaClient({ now: () => this.wallMs })
    this.client.beforeOperation = (operation, path) => this.#interfere(operation, path)
    const keeps = this.#chance(0.3)
    this.rules = rules ?? {
      retentionMs: this.#pick([2 * minuteMs, hourMs, 6 * hourMs, 24 * hourMs]),
      keep: {
        hourly: keeps ? this.#below(4) : 0,
        daily: keeps ? this.#below(4) : 0,
        weekly: keeps ? this.#below(3) : 0,
        monthly: keeps ? this.#below(3) : 0,
      },
    }
    // A store that answers "deleted" and keeps the object.
    const objects = this.client.objects
    const remove = objects.delete.bind(objects)
    objects.delete = (path) => (this.#chance(this.#lieChance) ? true : remove(path))
    this.beginGeneration()
    this.#retention = this.newRetention()
  }

  get wallMs(): number {
    return this.#nowMs + this.#skewMs
  }

  get storeMs(): number {
    return this.#storeSkewMs === undefined ? this.wallMs : this.#nowMs + this.#storeSkewMs
  }

  get outcome(): HistoryOutcome {
    return this.#count
  }

  get currentGeneration(): Generation | undefined {
    return this.#current?.generation
  }

  /** What a schedule of snapshots goes by. */
  get schedule(): { newest: NewestSnapshot; end: Position } | undefined {
    const line = this.#current
    if (line === undefined) return undefined
    let newest: NewestSnapshot | undefined
    for (const { trailer } of this.#ever.values()) {
      if (trailer.kind !== 'snapshot' || trailer.generation !== line.generation) continue
      const { index, consistentFrom, endTimeMs } = trailer
      if (newest === undefined || index > newest.index)
        newest = { index, consistentFrom, atMs: endTimeMs }
    }
    const { generation, index, offset } = line
    return newest === undefined ? undefined : { newest, end: { generation, index, offset } }
  }

  /** Random steps, then a quiet end at which everything has to be as if nothing had ever failed. */
  async run(steps: number): Promise<HistoryOutcome> {
    await this.#lookAtClock()
    for (let step = 0; step < steps; step += 1) await this.#step()
    await this.#end()
    return this.outcome
  }

  async #step(): Promise<void> {
    const choice = this.#below(100)
    this.pass(this.#pick([1000, 30_000, minuteMs, 5 * minuteMs, hourMs / 2]))
    if (choice < 36) this.commit(this.#line())
    else if (choice < 50) this.startSnapshot(this.#line())
    else if (choice < 64) this.finishSnapshot(this.#line())
    else if (choice < 68) this.beginGeneration()
    else if (choice < 70) this.pass(this.#pick([6 * hourMs, 25 * hourMs, 8 * 24 * hourMs]))
    else if (choice < 72) this.#jump()
    else if (choice < 73) this.#lose()
    else if (choice < 74 && this.#chance(0.3)) await this.#reboot()
    else if (choice < 78) this.#startFlight()
    else await this.#someRetention()
  }

  pass(durationMs: number): void {
    this.#nowMs += durationMs
  }

  beginGeneration(): void {
    const bytes = Uint8Array.from({ length: 8 }, () => this.#below(256))
    const before = this.#current?.timeMs ?? 0
    this.#current = {
      generation: formatGeneration(bytes),
      index: 0,
      offset: 0,
      // Times never go back along a lineage.
      timeMs: before === 0 ? 0 : before + 1,
      previousEnd: undefined,
      snapshot: undefined,
    }
    this.#lines.push(this.#current)
    this.#commits.push({
      generation: this.#current.generation,
      end: { index: 0, offset: 0 },
      trueMs: this.#nowMs,
      isCurrent: true,
      isSame: this.#commits.length > 0,
    })
  }

  /**
   * The current generation, and now and then one that a forgotten writer still fills. Of a writer that was silent for
   * longer than the window, something may be deleted: it does not come back.
   */
  #line(): Line {
    const line = this.#chance(0.05) ? this.#pick(this.#lines) : this.#current
    if (line === undefined || this.#current === undefined) throw new Error('no generation')
    const ever = [...this.#ever.values()].filter(
      ({ trailer }) => trailer.generation === line.generation,
    )
    const isThere = ({ path }: Stored): boolean => this.client.objects.has(path)
    if (!ever.some(isThere)) return this.#current
    const isWhole = ever.every(isThere)
    return isWhole || line.timeMs >= this.#promisedFromMs ? line : this.#current
  }

  commit(line = this.#line()): void {
    if (line.offset > 0 && this.#chance(0.4)) {
      line.previousEnd = line.offset
      line.index += 1
      line.offset = 0
    }
    this.#readClock()
    line.timeMs = Math.max(line.timeMs, this.wallMs)
    const startOffset = line.offset
    const first = startOffset + (startOffset === 0 ? 32 : 0) + 4120 * (1 + this.#below(3))
    const endOffset = first + 4120
    this.#store({
      kind: 'wal-segment',
      generation: line.generation,
      index: line.index,
      startOffset,
      endOffset,
      pageSizeBytes: 4096,
      bigEndian: false,
      databaseSizePages: 1,
      salts: { salt1: 1, salt2: 1 },
      checksumBefore: { s0: 0, s1: 0 },
      checksumAfter: { s0: 0, s1: 0 },
      captures: [
        { endOffset: first, timeMs: line.timeMs },
        { endOffset, timeMs: (line.timeMs += this.#below(3)) },
      ],
      previousIndexEnd:
        startOffset === 0 && line.previousEnd !== undefined
          ? { offset: line.previousEnd, checksum: { s0: 0, s1: 0 } }
          : undefined,
      source: undefined,
    })
    line.offset = endOffset
    for (const offset of [first, endOffset]) {
      this.#commits.push({
        generation: line.generation,
        end: { index: line.index, offset },
        trueMs: this.#nowMs,
        isCurrent: line === this.#current,
        isSame: false,
      })
    }
    if (line === this.#current) this.#sent = { wallMs: this.wallMs, monotonicMs: this.#nowMs }
  }

  startSnapshot(line = this.#line()): void {
    line.snapshot = { index: line.index, startMs: this.wallMs, jumps: this.#jumps }
  }

  finishSnapshot(line = this.#line()): void {
    const { snapshot } = line
    line.snapshot = undefined
    if (snapshot === undefined) return
    const lasted = this.wallMs - snapshot.startMs
    // A forgotten writer's first snapshot may take long, but not for ever.
    const given = snapshot.jumps === this.#jumps && lasted < 12 * hourMs
    if (line !== this.#current && !given) return
    const ref = { kind: 'snapshot', generation: line.generation, index: snapshot.index } as const
    if (this.#ever.has(formatObjectPath(ref))) return
    const commitTimeMs = line.timeMs === 0 ? this.wallMs : line.timeMs
    line.timeMs = Math.max(line.timeMs, commitTimeMs)
    this.#store({
      ...ref,
      consistentFrom: { index: line.index, offset: line.offset },
      pageSizeBytes: 4096,
      pageCount: 1,
      startTimeMs: Math.max(0, snapshot.startMs),
      endTimeMs: Math.max(snapshot.startMs, this.wallMs),
      lineage: undefined,
      commitTimeMs,
    })
  }

  #store(trailer: Trailer): void {
    const path = pathOf(trailer)
    this.#ever.set(path, { path, trailer })
    const { storeMs } = this
    const createdAtMs = storeMs + (this.#chance(0.1) ? this.#below(20_000) - 10_000 : 0)
    this.client.objects.set(path, { bytes: objectOf(trailer), createdAtMs })
  }

  get trueMs(): number {
    return this.#nowMs
  }

  /** From now on the clock is so much ahead, that of the store with it. */
  setClock(aheadMs: number): void {
    this.#skewMs = aheadMs
    this.#storeSkewMs = undefined
  }

  /** The clock is set, or put right. */
  #jump(): void {
    this.#jumps += 1
    this.#skewMs = this.#chance(0.4) ? 0 : this.#skewMs + this.#pick(wrongClocksMs)
  }

  /** What a clock did while the machine was off is not known: here, it went on. */
  async #reboot(): Promise<void> {
    this.pass(this.#pick([minuteMs, 5 * hourMs]))
    this.#boot += 1
    this.#bootedMs = this.#nowMs
    this.#restart()
    await this.#lookAtClock()
  }

  #restart(): void {
    this.#retention = this.newRetention()
    this.#sent = undefined
    this.#setBackMs = 0
    this.#readSkewMs = this.#skewMs
  }

  /** By how much it was set back, altogether, between two times that the process has read it. */
  #readClock(): number {
    this.#setBackMs += Math.max(0, this.#readSkewMs - this.#skewMs)
    this.#readSkewMs = this.#skewMs
    return this.#setBackMs
  }

  async #lookAtClock(): Promise<void> {
    await this.#retention.lookAtClock(new AbortController().signal)
  }

  /** An object is gone by other means than ours: what was deleted before might have replaced it, and is forgotten. */
  #lose(): void {
    const paths = [...this.client.objects.keys()]
    if (paths.length === 0) return
    const path = this.#pick(paths)
    this.client.objects.delete(path)
    if (this.client.objects.has(path)) return
    for (const each of this.#ever.keys()) {
      if (!this.client.objects.has(each)) this.#ever.delete(each)
    }
    this.#flights = this.#flights.filter((flight) => !flight.paths.includes(path))
    this.#count.losses += 1
  }

  async #someRetention(): Promise<void> {
    // What a clock of the machine did before, a command on another one does not know.
    const mayBeElsewhere = this.#storeSkewMs !== undefined || this.#jumps === 0
    if (mayBeElsewhere && this.#chance(0.1)) {
      await this.retain(this.#elsewhere())
      return
    }
    if (this.#chance(0.4)) this.#crashIn = this.#below(30)
    if (this.#chance(0.3)) this.#failChance = this.#random() * 0.5
    if (this.#chance(0.3)) this.#lieChance = this.#random() * 0.7
    await this.retain()
    this.#crashIn = Number.POSITIVE_INFINITY
    this.#failChance = 0
    this.#lieChance = 0
  }

  /** One run of retention; then every promise is checked. Undefined: it failed. */
  async retain(retention = this.#retention): Promise<RetentionReport | undefined> {
    this.#count.runs += 1
    this.#promisedFromMs = Math.max(this.#promisedFromMs, this.wallMs - this.rules.retentionMs)
    this.#truePromiseMs = Math.max(this.#truePromiseMs, this.#nowMs - this.rules.retentionMs)
    const before = this.client.objects.size
    let report: RetentionReport | undefined
    try {
      report = await retention.enforce(new AbortController().signal)
      this.#count.failures += report.failures.length
    } catch (error) {
      if (error instanceof Crash) {
        this.#count.crashes += 1
        this.#restart()
      } else if (error instanceof ReplicaError) {
        this.#count.failures += 1
        if (error.message.startsWith('the clock of this machine')) this.#count.refusals += 1
      } else throw error
    }
    const deleted = before - this.client.objects.size
    this.#count.deleted += deleted
    if (deleted > 0) this.check()
    return report
  }

  /** The command with a URL, on another machine with a clock of its own. */
  #elsewhere(): EnforceRetention {
    const skewMs = this.#chance(0.3) ? 0 : this.#pick(wrongClocksMs)
    return this.#enforcer({
      record: undefined,
      currentGeneration: () => undefined,
      now: () => this.#nowMs + skewMs,
    })
  }

  newRetention(): EnforceRetention {
    const record: RetentionRecord = {
      load: () => Promise.resolve(this.#recorded),
      save: (deletions) => {
        this.#interfere('save', '')
        this.#recorded = JSON.parse(JSON.stringify(deletions)) as RecordedDeletion[]
        return Promise.resolve()
      },
      loadClock: () => Promise.resolve(this.#clockMemory),
      saveClock: (memory) => {
        this.#interfere('save', '')
        this.#clockMemory = JSON.parse(JSON.stringify(memory)) as ClockMemory
        return Promise.resolve()
      },
    }
    return this.#enforcer({
      record,
      currentGeneration: () => this.#current?.generation,
      lastSent: () => (this.#storeSkewMs === undefined ? undefined : this.#sent),
      now: () => this.wallMs,
    })
  }

  #enforcer({
    now,
    ...options
  }: Pick<EnforceRetentionOptions, 'record' | 'currentGeneration' | 'lastSent'> & {
    readonly now: () => number
  }): EnforceRetention {
    const clock: Clock = {
      now,
      monotonic: () => this.#nowMs,
      sleep: (durationMs) => {
        this.#nowMs += durationMs
        return Promise.resolve()
      },
    }
    return new EnforceRetention({
      ...options,
      client: this.client,
      rules: this.rules,
      clock,
      machine: {
        boot: String(this.#boot),
        sinceBootMs: () => this.#nowMs - this.#bootedMs,
        setBackMs: () => this.#readClock(),
      },
      logger: silent,
    })
  }

  #interfere(operation: string, path: string): void {
    this.#crashIn -= 1
    if (this.#crashIn < 0) throw new Crash()
    if (operation !== 'save' && this.#chance(this.#failChance))
      throw new ReplicaError(`${operation} of ${path} failed`)
  }

  /** A restore chooses its objects, and reads them for as long as the grace period lasts. */
  #startFlight(): void {
    const fromMs = this.wallMs - this.rules.retentionMs
    if (fromMs < this.#promisedFromMs - this.rules.retentionMs) return
    const targetMs = fromMs + this.#random() * this.rules.retentionMs
    const found = restoreFrom(chainsOf(this.#present()), targetMs)
    if (found === undefined) return
    this.#flights.push({ startedMs: this.wallMs, jumps: this.#jumps, paths: found.paths })
    this.#count.restoresInFlight += 1
  }

  #present(): Stored[] {
    return [...this.#ever.values()].filter(({ path }) => this.client.objects.has(path))
  }

  check(): void {
    const ever = chainsOf([...this.#ever.values()])
    const present = chainsOf(this.#present())
    const moments = new Set([this.#promisedFromMs, Number.MAX_SAFE_INTEGER])
    for (const { trailer } of this.#ever.values()) {
      const times =
        trailer.kind === 'snapshot'
          ? [trailer.commitTimeMs]
          : trailer.captures.map(({ timeMs }) => timeMs)
      for (const timeMs of times) if (timeMs >= this.#promisedFromMs) moments.add(timeMs)
    }
    for (const momentMs of moments) {
      this.#count.momentsChecked += 1
      const should = restoreFrom(ever, momentMs)?.commit
      const does = restoreFrom(present, momentMs)?.commit
      if (should !== does) {
        throw new Error(
          `the moment ${new Date(Math.min(momentMs, 8.64e15)).toISOString()} restored to ${should} and restores to ${does} now`,
        )
      }
    }
    this.#checkTrueWindow(ever, present)
    this.#flights = this.#flights.filter(
      ({ startedMs, jumps }) =>
        jumps === this.#jumps && this.wallMs - startedMs < graceOf(this.rules.retentionMs),
    )
    for (const flight of this.#flights) {
      const gone = flight.paths.find((path) => !this.client.objects.has(path))
      if (gone !== undefined)
        throw new Error(
          `a restore that began ${this.wallMs - flight.startedMs} ms ago needs ${gone}`,
        )
    }
  }

  /** Every commit of the window in true time, and the one before it, can be had if it could be without retention. */
  #checkTrueWindow(ever: readonly Chain[], present: readonly Chain[]): void {
    const should = reachOf(ever)
    const does = reachOf(present)
    const current = this.#commits.filter(({ isCurrent }) => isCurrent)
    const last = current.findLastIndex(
      ({ isSame, trueMs }) => !isSame && trueMs <= this.#truePromiseMs,
    )
    const next = current.findIndex(({ isSame }, i) => i > last && !isSame)
    const before = last === -1 ? [] : current.slice(last, next === -1 ? undefined : next)
    const inWindow = this.#commits.filter(
      ({ isSame, trueMs }) => !isSame && trueMs > this.#truePromiseMs,
    )
    for (const alike of [before, ...inWindow.map((commit) => [commit])]) {
      if (!alike.some((commit) => reaches(should, commit))) continue
      this.#count.commitsChecked += 1
      if (alike.some((commit) => reaches(does, commit))) continue
      const [first] = alike
      if (first === undefined) continue
      const { generation, end, trueMs } = first
      throw new Error(
        `commit ${generation}/${end.index}:${end.offset}, ${(this.#nowMs - trueMs) / minuteMs} min ago, cannot be restored any more; ` +
          `the clock is ${this.#skewMs / minuteMs} min ahead, that of the store ${(this.#storeSkewMs ?? this.#skewMs) / minuteMs}`,
      )
    }
  }

  /** Two runs that nothing disturbs: the second one finds nothing to do, and no generation is half deleted. */
  async #end(): Promise<void> {
    // The remedy for clocks that differ, and a commit that shows it.
    this.#skewMs = 0
    if (this.#storeSkewMs !== undefined) this.#storeSkewMs = 0
    this.commit(this.#current)
    await this.retain()
    const after = [...this.client.objects.keys()]
    const { plan, failures } = await this.newRetention().enforce(new AbortController().signal)
    if (failures.length > 0) throw new Error(failures.join('; '))
    if (plan.deletions.length > 0 || after.length !== this.client.objects.size)
      throw new Error('a second run found more to delete')
    const kept = new Set(plan.kept.map(({ generation }) => generation))
    if (this.#recorded.some(({ generation }) => !kept.has(generation)))
      throw new Error('a finished deletion is still recorded')
    this.#findHalfDeleted()
  }

  /** Without the snapshots that retention deleted, what is left of a generation restores nothing. */
  #findHalfDeleted(): void {
    const present = this.#present()
    if (!present.some(({ trailer }) => trailer.kind === 'snapshot')) return
    for (const { trailer, path } of this.#ever.values()) {
      const { generation } = trailer
      if (trailer.kind !== 'snapshot' || this.client.objects.has(path)) continue
      const left = present.filter((each) => each.trailer.generation === generation)
      if (left.length > 0 && left.every((each) => each.trailer.kind === 'wal-segment'))
        throw new Error(`generation ${generation} is half deleted`)
    }
  }

  #chance(probability: number): boolean {
    return probability > 0 && this.#random() < probability
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count)
  }

  #pick<T>(values: readonly T[]): T {
    const value = values[this.#below(values.length)]
    if (value === undefined) throw new Error('nothing to pick from')
    return value
  }
}

function pathOf(trailer: Trailer): string {
  const { generation, index } = trailer
  return trailer.kind === 'snapshot'
    ? formatObjectPath({ kind: 'snapshot', generation, index })
    : formatObjectPath({ kind: 'wal-segment', generation, index, offset: trailer.startOffset })
}

/** A snapshot, and the segments after it as far as each follows the one before. */
interface Chain {
  readonly path: string
  readonly snapshot: SnapshotTrailer
  readonly segments: readonly Segment[]
}

function chainsOf(stored: readonly Stored[]): readonly Chain[] {
  const segments = segmentsOf(stored)
  return stored.flatMap(({ path, trailer }) => {
    if (trailer.kind !== 'snapshot') return []
    const chain: Segment[] = []
    let at: WalPosition = { index: trailer.index, offset: 0 }
    for (;;) {
      const next = follow(segments, trailer.generation, at)
      if (next === undefined) return [{ path, snapshot: trailer, segments: chain }]
      chain.push(next)
      at = { index: next.trailer.index, offset: next.trailer.endOffset }
    }
  })
}

/**
 * What a restore of a moment gives: of each generation the last commit at or before it that some snapshot leads to, and of
 * these the newest. Written without the planners of the program.
 */
function restoreFrom(
  chains: readonly Chain[],
  momentMs: number,
): { commit: string; timeMs: number; paths: readonly string[] } | undefined {
  let best: { commit: string; timeMs: number; chain: Chain; length: number } | undefined
  for (const chain of chains) {
    const { generation, index, consistentFrom, commitTimeMs } = chain.snapshot
    if (commitTimeMs > momentMs) continue
    let length = 0
    let reached = { index, offset: 0, timeMs: commitTimeMs }
    for (const { trailer } of chain.segments) {
      const capture = trailer.captures.findLast(({ timeMs }) => timeMs <= momentMs)
      if (capture === undefined) break
      length += 1
      reached = {
        index: trailer.index,
        offset: capture.endOffset,
        timeMs: Math.max(capture.timeMs, commitTimeMs),
      }
      if (capture.endOffset < trailer.endOffset) break
    }
    if (comparePositions(reached, consistentFrom) < 0) continue
    const commit = `${generation}/${reached.index}:${reached.offset}`
    const newer =
      best === undefined ||
      reached.timeMs > best.timeMs ||
      (reached.timeMs === best.timeMs && commit > best.commit)
    // Among snapshots that lead to the same commit, the newest is used.
    const shorter = best?.commit === commit && length < best.length
    if (newer || shorter) best = { commit, timeMs: reached.timeMs, chain, length }
  }
  if (best === undefined) return undefined
  const { commit, timeMs, chain, length } = best
  const segments = chain.segments.slice(0, length)
  return { commit, timeMs, paths: [chain.path, ...segments.map(({ path }) => path)] }
}

type Reach = ReadonlyMap<
  Generation,
  readonly { readonly from: WalPosition; readonly to: WalPosition }[]
>

/** Of each generation, from where to where its snapshots lead. */
function reachOf(chains: readonly Chain[]): Reach {
  const reach = new Map<Generation, { from: WalPosition; to: WalPosition }[]>()
  for (const { snapshot, segments } of chains) {
    const last = segments.at(-1)?.trailer
    const to = { index: last?.index ?? snapshot.index, offset: last?.endOffset ?? 0 }
    const ranges = reach.get(snapshot.generation) ?? []
    ranges.push({ from: snapshot.consistentFrom, to })
    reach.set(snapshot.generation, ranges)
  }
  return reach
}

function reaches(reach: Reach, { generation, end }: Commit): boolean {
  return (reach.get(generation) ?? []).some(
    ({ from, to }) => comparePositions(from, end) <= 0 && comparePositions(end, to) <= 0,
  )
}

interface Segment {
  readonly path: string
  readonly trailer: WalSegmentTrailer
}

function segmentsOf(stored: readonly Stored[]): ReadonlyMap<string, Segment> {
  const segments = new Map<string, Segment>()
  for (const { path, trailer } of stored) {
    if (trailer.kind !== 'wal-segment') continue
    const { generation, index, startOffset } = trailer
    segments.set(placeOf(generation, index, startOffset), { path, trailer })
  }
  return segments
}

function placeOf(generation: Generation, index: number, offset: number): string {
  return `${generation}/${index}:${offset}`
}

function follow(
  segments: ReadonlyMap<string, Segment>,
  generation: Generation,
  at: WalPosition,
): Segment | undefined {
  const goesOn = segments.get(placeOf(generation, at.index, at.offset))
  if (goesOn !== undefined) return goesOn
  const next = segments.get(placeOf(generation, at.index + 1, 0))
  return next?.trailer.previousIndexEnd?.offset === at.offset ? next : undefined
}
