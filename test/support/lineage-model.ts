/**
 * Random histories of hosts that write one database to one replica: clocks that are ahead, behind and set, takeovers, forks,
 * files that are swapped, machines that are set back, processes that die, are frozen or stopped, local state that is lost,
 * and objects of the replica that are deleted. What a restore gives is compared with what was stored, which is known from
 * the order of claims and from the objects themselves, without the planners of the program.
 */
import assert from 'node:assert/strict'
import { type Generation } from '../../src/domain/wal/generation.ts'
import { comparePositions, type WalPosition } from '../../src/domain/wal/position.ts'
import { ownerObjectName } from '../../src/domain/stored/replica-layout.ts'
import { type SnapshotTrailer, type WalSegmentTrailer } from '../../src/domain/stored/trailer.ts'
import { messageOf } from '../../src/kit/error-text.ts'
import {
  type BegunGeneration,
  type Host,
  hourMs,
  minuteMs,
  ownershipOf,
  placeOf,
  type Restored,
  secondMs,
  trailerIn,
  World,
} from './lineage-world.ts'

/** What is stored of a generation. */
interface StoredGeneration {
  readonly generation: Generation
  readonly snapshots: readonly SnapshotTrailer[]
  readonly segments: readonly WalSegmentTrailer[]
}

type Objects = World['client']['objects']

export interface LineageOutcome {
  restores: number
  generations: number
  takeovers: number
  forks: number
  deletions: number
  /** Restores that were refused because something was lost. */
  refused: number
  /** Of something older, where nothing that was left told that more had been there. */
  older: number
  moments: number
}

const nothing: LineageOutcome = {
  restores: 0,
  generations: 0,
  takeovers: 0,
  forks: 0,
  deletions: 0,
  refused: 0,
  older: 0,
  moments: 0,
}

const stepCount = 24
const deletionCount = 6

class LineageHistory {
  readonly world: World
  readonly #hosts: readonly Host[]
  /** Disks as they were. */
  readonly #copies = new Map<Host, ReturnType<Host['copy']>>()
  /** What was done, for whoever reads a failure. */
  readonly steps: string[] = []
  readonly #count: LineageOutcome = { ...nothing }
  /** Of each generation, the newest moment that was stored of others when its host looked, before it sent the first object. */
  readonly #momentsBefore = new Map<Generation, number>()

  constructor(seed: number) {
    this.world = new World(seed)
    this.world.snapshotIntervalMs = [undefined, 5 * secondMs, minuteMs][seed % 3]
    this.#hosts = ['a', 'b', 'c'].map((name) =>
      this.world.host(name, { offsetMs: this.#clockOffsetMs() }),
    )
    this.world.onLook = (host) => this.#noteLook(host)
  }

  async run(steps: number): Promise<LineageOutcome> {
    const [first] = this.#hosts
    assert(first !== undefined)
    first.place()
    first.start()
    try {
      for (let i = 0; i < steps; i += 1) {
        await this.#step()
        this.#checkStored()
        if (this.#chance(0.2)) await this.#checkRestores()
      }
      await this.#settle()
      await this.#checkRestores()
      for (let i = 0; i < deletionCount; i += 1) await this.#checkDeletion()
    } finally {
      for (const host of this.#hosts) await host.kill()
    }
    this.#count.generations = this.world.begun.length
    this.#count.forks = this.world.lines.filter(({ message }) =>
      message.includes('does not have'),
    ).length
    return this.#count
  }

  async #step(): Promise<void> {
    const { world } = this
    const host = this.#pick(this.#hosts)
    const choice = this.#below(100)
    if (choice < 40) {
      await this.#write(host)
    } else if (choice < 48) {
      this.#say('time passes')
      await world.pass(this.#pick([100, 5 * secondMs, minuteMs, 11 * minuteMs]))
    } else if (choice < 56) {
      host.offsetMs = this.#clockOffsetMs()
      this.#say(`clock of ${host.name} is set to ${host.offsetMs} ms`)
    } else if (choice < 66) {
      await this.#restart(host)
    } else if (choice < 80) {
      await this.#takeOver(host)
    } else if (choice < 86) {
      await this.#swap(host)
    } else if (choice < 92) {
      await this.#setBack(host)
    } else {
      this.#freeze(host)
    }
  }

  async #write(host: Host): Promise<void> {
    if (host.file === undefined || host.clock.isStopped) return
    const count = 1 + this.#below(3)
    this.#say(`${count} commits at ${host.name}`)
    for (let i = 0; i < count; i += 1) {
      host.commit()
      await this.world.pass(this.#pick([30, 400, 1500, 4 * secondMs]))
    }
    // Without a daemon the application's own checkpoints let the WAL restart; beside one it has to have read everything.
    if (this.#chance(0.2) && host.daemon === undefined) host.checkpoint()
    if (this.#chance(0.1) && host.daemon?.isStored === true) {
      await this.world.pass(2 * secondMs)
      host.checkpoint()
    }
  }

  async #restart(host: Host): Promise<void> {
    if (host.file === undefined) return
    const how = this.#pick(['stopped', 'killed'])
    this.#say(`${host.name} is ${how}`)
    if (how === 'stopped') await host.stop()
    else await host.kill()
    if (this.#chance(0.5)) host.commit()
    if (this.#chance(0.3)) host.checkpoint()
    if (this.#chance(0.2)) {
      this.#say(`${host.name} loses its local state`)
      host.loseState()
    }
    await this.world.pass(this.#pick([0, secondMs, minuteMs]))
    if (this.#chance(0.8)) this.#start(host)
  }

  #start(host: Host): void {
    if (host.daemon !== undefined) return
    this.#say(`${host.name} starts`)
    host.start()
  }

  /** Another host goes on: usually from a restore, or with the database that it has. */
  async #takeOver(host: Host): Promise<void> {
    for (const other of this.#hosts) {
      if (other === host || other.daemon === undefined) continue
      const how = this.#pick(['stopped', 'killed', 'frozen'])
      this.#say(`${other.name} is ${how}`)
      if (how === 'stopped') await other.stop()
      else if (how === 'killed') await other.kill()
      else other.freeze()
    }
    if (host.daemon !== undefined) await host.stop()
    host.thaw()
    if (host.file === undefined || this.#chance(0.7)) {
      const restored = await host.restore()
      this.#say(`${host.name} restores: ${restored}`)
      if (!restored && host.file === undefined) host.place()
    }
    this.#count.takeovers += 1
    this.#start(host)
    await this.world.pass(this.#pick([0, 200, 3 * secondMs]))
  }

  async #swap(host: Host): Promise<void> {
    if (host.file === undefined) return
    this.#say(`another file at ${host.name}`)
    host.place({ number: this.world.next(), parent: undefined })
    await this.world.pass(this.#pick([100, 3 * secondMs]))
  }

  /** A copy of disk and database is taken, or comes back. */
  async #setBack(host: Host): Promise<void> {
    const copy = this.#copies.get(host)
    if (copy === undefined || this.#chance(0.3)) {
      this.#copies.set(host, host.copy())
      return
    }
    const what = this.#pick(['state', 'file', 'both', 'both'])
    this.#say(`${host.name} is set back: ${what}`)
    await host.kill()
    this.#copies.delete(host)
    if (what !== 'file') host.state = copy.state
    if (what === 'both') host.file = copy.file
    if (what === 'file' && copy.file !== undefined) host.place(copy.file.head)
    if (host.file !== undefined) this.#start(host)
    await this.world.pass(this.#pick([100, 3 * secondMs]))
  }

  #freeze(host: Host): void {
    if (host.daemon === undefined) return
    this.#say(`${host.name} is ${host.clock.isStopped ? 'back' : 'frozen'}`)
    if (host.clock.isStopped) host.thaw()
    else host.freeze()
  }

  /** Everybody is back, and one of them may go on in peace. */
  async #settle(): Promise<void> {
    for (const host of this.#hosts) host.thaw()
    // Who is not the owner any more hears of it when it looks before a write, which it may do without for ten seconds.
    for (let i = 0; i < 2; i += 1) {
      for (const host of this.#hosts) {
        if (host.daemon !== undefined && host.file !== undefined) host.commit()
      }
      await this.world.pass(minuteMs)
    }
    const owners = this.#hosts.filter(
      ({ daemon }) => daemon?.sync.standing.takenBy === undefined && daemon,
    )
    const [owner] = owners
    if (owner === undefined || owners.length > 1) return
    owner.commit()
    await this.world.pass(15 * minuteMs)
    const { daemon } = owner
    if (daemon === undefined || daemon.isOver) return
    assert.equal(daemon.isStored, true, `${owner.name} does not get its commits stored`)
    const newest = owner.file?.head
    const restored = await this.world.restore()
    assert(restored.kind === 'commit', `refused: ${describe(restored)}`)
    assert.equal(restored.commit.number, newest?.number, 'the owner has committed something else')
  }

  /**
   * What is there of others when a host looks for the place of its generation is earlier than all of that. What a former owner
   * sends afterwards is not: for ten seconds it writes without a look, by a clock of its own, and nobody can know of it.
   * Such a generation is none that the later one follows, and no restore compares their times.
   */
  #noteLook({ daemon }: Host): void {
    const generation = daemon?.generation
    const stored = storedIn(this.world.client.objects)
    if (generation === undefined || stored.some((each) => each.generation === generation)) return
    this.#momentsBefore.set(generation, Math.max(0, ...stored.flatMap((each) => momentsOf(each))))
  }

  /** What holds of the objects whatever happens: nothing is overwritten, and times go on. */
  #checkStored(): void {
    assert.deepEqual(this.world.overwritten, [])
    for (const stored of storedIn(this.world.client.objects)) {
      const before = this.#momentsBefore.get(stored.generation) ?? 0
      const first = Math.min(...momentsOf(stored))
      assert(first > before, `${stored.generation} begins at ${first}, and others end at ${before}`)
    }
    this.#checkLineages()
  }

  /** Times never go back along a lineage, whenever what it follows was stored. */
  #checkLineages(): void {
    const all = storedIn(this.world.client.objects)
    for (const { generation, snapshots, segments } of all) {
      const first = Math.min(...momentsOf({ generation, snapshots, segments }))
      for (const { generation: followed, end } of snapshots.at(-1)?.lineage?.follows ?? []) {
        const found = all.find((each) => each.generation === followed)
        if (found === undefined || end === undefined) continue
        const last = Math.max(...momentsOf(found, end))
        const where = placeOf(followed, end)
        assert(first > last, `${generation} begins at ${first}, and follows ${where} of ${last}`)
      }
    }
  }

  /** Restores of the newest commit, and of moments. */
  async #checkRestores(): Promise<void> {
    const { objects } = this.world.client
    this.#count.restores += 1
    await this.#checkRestore('the newest commit')
    const moments = storedIn(objects).flatMap((each) => momentsOf(each))
    if (moments.length === 0) return
    for (let i = 0; i < 2; i += 1) {
      const timeMs = this.#pick(moments) + this.#pick([-1, 0, 1, 700])
      this.#count.moments += 1
      await this.#checkRestore(`the newest commit at ${new Date(timeMs).toISOString()}`, timeMs)
    }
  }

  /** A host that has just started may store more while the restore looks: then any commit from before to after is right. */
  async #checkRestore(what: string, timeMs?: number): Promise<void> {
    const { objects } = this.world.client
    const before = this.#newest(objects, timeMs)
    const restored = await this.world.restore(
      timeMs === undefined ? undefined : { kind: 'timestamp', timeMs },
    )
    const after = this.#newest(objects, timeMs)
    const hasGrown =
      before?.generation === after?.generation &&
      before !== undefined &&
      after !== undefined &&
      restored.kind !== 'refused' &&
      restored.generation === after.generation &&
      comparePositions(restored.position, before.position) >= 0 &&
      comparePositions(restored.position, after.position) <= 0
    if (!hasGrown) this.#compare(restored, before, what)
  }

  #compare(restored: Restored, expected: Place | undefined, what: string): void {
    if (expected === undefined) {
      assert(restored.kind === 'refused', `${what}: there is none, restored ${describe(restored)}`)
      return
    }
    const wanted = placeOf(expected.generation, expected.position)
    assert.equal(describe(restored), wanted, what)
  }

  /** Generations that can be restored, the newest first: by claim, and under one claim by their beginnings. */
  #order(): readonly BegunGeneration[] {
    return this.world.begun
      .map((begun, at) => ({ begun, at }))
      .sort((a, b) => b.begun.epoch - a.begun.epoch || b.at - a.at)
      .map(({ begun }) => begun)
  }

  #newest(objects: Objects, timeMs = Number.POSITIVE_INFINITY): Place | undefined {
    const stored = storedIn(objects)
    for (const { generation } of this.#order()) {
      const found = stored.find((each) => each.generation === generation)
      const place = found && endOf(found, timeMs)
      if (place !== undefined) return place
      // It had begun by then, and what lies before its first snapshot's end cannot be restored.
      if (found !== undefined && found.snapshots.length > 0 && hasBegun(found, timeMs))
        return undefined
    }
    return undefined
  }

  /** Some objects are deleted: what is restored then is the newest commit, or nothing that proves loss is passed over. */
  async #checkDeletion(): Promise<void> {
    const { objects } = this.world.client
    const all = [...objects]
    const moments = storedIn(objects).flatMap((each) => momentsOf(each))
    if (moments.length === 0) return
    const timeMs = this.#pick(moments) + this.#pick([-1, 0, 1, 700])
    const [newest, earlier] = [this.#newest(objects), this.#newest(objects, timeMs)]
    const gone = this.#someObjects([...objects.keys()])
    this.#count.deletions += 1
    for (const path of gone) objects.delete(path)
    try {
      if (newest !== undefined) await this.#compareLossy({ before: newest, gone })
      if (earlier !== undefined) await this.#compareLossy({ before: earlier, gone, timeMs })
    } finally {
      objects.clear()
      for (const [path, object] of all) objects.set(path, object)
    }
  }

  /** `before` is what was restored when nothing was gone. */
  async #compareLossy({
    before,
    gone,
    timeMs,
  }: {
    readonly before: Place
    readonly gone: readonly string[]
    readonly timeMs?: number
  }): Promise<void> {
    const { objects } = this.world.client
    const restored = await this.world.restore(
      timeMs === undefined ? undefined : { kind: 'timestamp', timeMs },
    )
    const wanted = placeOf(before.generation, before.position)
    const found = describe(restored)
    const moment = timeMs === undefined ? '' : ` at ${new Date(timeMs).toISOString()}`
    if (found === wanted) return
    if (restored.kind === 'refused') {
      this.#count.refused += 1
      const isTouched = gone.some((path) => isNeeded(path, before, timeMs, this.#order()))
      assert(isTouched, `refused, and nothing is lost that is needed${moment}: ${found}`)
      return
    }
    this.#count.older += 1
    const proof = this.#proofOf(objects, timeMs)
    assert(
      proof === undefined ||
        (proof.generation === restored.generation &&
          comparePositions(restored.position, proof.position) >= 0),
      `${wanted} was the newest${moment}, ${found} is restored, and ${proof && placeOf(proof.generation, proof.position)} is proven to have been there (deleted: ${gone.join(', ')})`,
    )
  }

  #someObjects(paths: readonly string[]): readonly string[] {
    const newest = this.#order()[0]?.generation ?? ''
    const ofNewest = paths.filter((path) => path.includes(newest))
    switch (this.#below(7)) {
      case 0:
        return ofNewest
      case 1:
        return ofNewest.filter((path) => path.includes('/wal/'))
      case 2:
        return ofNewest.filter((path) => path.includes('/snapshots/'))
      case 3:
        return ofNewest.filter((path) => path.includes('/wal/')).slice(-1 - this.#below(3))
      case 4:
        return [...ofNewest.filter(() => this.#chance(0.5)), ownerObjectName]
      case 5:
        return paths.filter((path) => path !== ownerObjectName && this.#chance(0.1))
      default:
        return paths.filter((path) => path !== ownerObjectName && this.#chance(0.5))
    }
  }

  /** How far objects that are left prove that something was stored by then; undefined: nothing of the kind is there. */
  #proofOf(objects: Objects, timeMs = Number.POSITIVE_INFINITY): Place | undefined {
    const stored = storedIn(objects)
    const record = objects.has(ownerObjectName) ? ownershipOf(this.world)?.stored : undefined
    const records = [record, record?.before].filter((each) => each?.hasSnapshot === true)
    for (const { generation } of this.#order()) {
      const { snapshots = [], segments = [] } =
        stored.find((each) => each.generation === generation) ?? {}
      const recorded = records.find((each) => each?.generation === generation)
      // Of segments alone, the first snapshot may not have been finished.
      if (snapshots.length === 0 && recorded === undefined) continue
      const positions = [
        ...snapshots
          .filter(({ commitTimeMs }) => commitTimeMs <= timeMs)
          .map(({ consistentFrom }) => consistentFrom),
        ...segments.flatMap(({ index, captures }) =>
          captures
            .filter((each) => each.timeMs <= timeMs)
            .map(({ endOffset }) => ({ index, offset: endOffset })),
        ),
      ]
      if (recorded !== undefined && recorded.commitTimeMs <= timeMs) {
        positions.push(recorded.position ?? { index: 0, offset: 0 })
      }
      const position = positions.sort(comparePositions).at(-1)
      if (position !== undefined) return { generation, position, paths: [] }
    }
    return undefined
  }

  /** Clocks are right, or wrong by a little, a minute, or hours. */
  #clockOffsetMs(): number {
    return this.#pick([0, 0, 300, -300, minuteMs, -minuteMs, hourMs, -hourMs, 26 * hourMs])
  }

  #say(what: string): void {
    this.steps.push(`${Math.floor(this.world.time.nowMs)} ${what}`)
  }

  #chance(probability: number): boolean {
    return this.world.random() < probability
  }

  #below(count: number): number {
    return Math.floor(this.world.random() * count)
  }

  #pick<T>(values: readonly T[]): T {
    const value = values[this.#below(values.length)]
    assert(value !== undefined)
    return value
  }
}

interface Place {
  readonly generation: Generation
  readonly position: WalPosition
  /** The objects that lead there. */
  readonly paths: readonly string[]
}

/** What is stored of each generation, in order. */
function storedIn(objects: Objects): readonly StoredGeneration[] {
  const found = new Map<
    Generation,
    { snapshots: SnapshotTrailer[]; segments: WalSegmentTrailer[] }
  >()
  for (const { bytes } of objects.values()) {
    const trailer = trailerIn(bytes)
    if (trailer === undefined) continue
    const of = found.get(trailer.generation) ?? { snapshots: [], segments: [] }
    found.set(trailer.generation, of)
    if (trailer.kind === 'snapshot') of.snapshots.push(trailer)
    else of.segments.push(trailer)
  }
  return [...found].map(([generation, { snapshots, segments }]) => ({
    generation,
    snapshots: snapshots.sort((a, b) => a.index - b.index),
    segments: segments.sort((a, b) => comparePositions(startOf(a), startOf(b))),
  }))
}

/** The last commit at or before a moment that the objects of a generation lead to, if each goes on from the one before. */
function endOf(
  { generation, snapshots, segments }: StoredGeneration,
  timeMs: number,
): Place | undefined {
  for (const snapshot of snapshots.toReversed()) {
    if (snapshot.commitTimeMs > timeMs) continue
    let at: WalPosition = { index: snapshot.index, offset: 0 }
    let reached = at
    const paths = [`generations/${generation}/snapshots/${hex(snapshot.index)}.snapshot.lz4`]
    for (const segment of segments) {
      if (comparePositions(startOf(segment), at) < 0) continue
      const isNext =
        (segment.index === at.index && segment.startOffset === at.offset) ||
        (segment.startOffset === 0 &&
          segment.index === at.index + 1 &&
          segment.previousIndexEnd?.offset === at.offset)
      const capture = segment.captures.findLast((each) => each.timeMs <= timeMs)
      if (!isNext || capture === undefined) break
      paths.push(
        `generations/${generation}/wal/${hex(segment.index)}_${hex(segment.startOffset)}.wal.lz4`,
      )
      reached = { index: segment.index, offset: capture.endOffset }
      at = { index: segment.index, offset: segment.endOffset }
      if (capture.endOffset < segment.endOffset) break
    }
    if (comparePositions(reached, snapshot.consistentFrom) < 0) continue
    return { generation, position: reached, paths }
  }
  return undefined
}

/** Of all commits up to a position; absent: of all. */
function momentsOf({ snapshots, segments }: StoredGeneration, end = endless): readonly number[] {
  return [
    ...snapshots
      .filter(({ consistentFrom }) => comparePositions(consistentFrom, end) <= 0)
      .map(({ commitTimeMs }) => commitTimeMs),
    ...segments.flatMap(({ index, captures }) =>
      captures
        .filter(({ endOffset }) => comparePositions({ index, offset: endOffset }, end) <= 0)
        .map(({ timeMs }) => timeMs),
    ),
  ]
}

const endless: WalPosition = { index: Number.POSITIVE_INFINITY, offset: 0 }

function hasBegun({ segments }: StoredGeneration, timeMs: number): boolean {
  return segments.some(({ captures }) => captures.some((each) => each.timeMs <= timeMs))
}

/**
 * Whether an object may tell what lies between the place and the target: for a moment, all of its generation and of later
 * ones, because when the commits of a missing one were made is not known.
 */
function isNeeded(
  path: string,
  place: Place,
  timeMs: number | undefined,
  order: readonly BegunGeneration[],
): boolean {
  if (path === ownerObjectName || place.paths.includes(path)) return true
  if (timeMs === undefined) return false
  const at = order.findIndex(({ generation }) => generation === place.generation)
  return order.slice(0, at + 1).some(({ generation }) => path.includes(generation))
}

function startOf({ index, startOffset }: WalSegmentTrailer): WalPosition {
  return { index, offset: startOffset }
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0')
}

function describe(restored: Restored): string {
  if (restored.kind === 'commit') return placeOf(restored.generation, restored.position)
  return messageOf(restored.error)
}

/** Random histories by their seeds, with all that went wrong. */
export async function runHistories({
  from,
  count,
}: {
  readonly from: number
  readonly count: number
}): Promise<{ readonly failures: readonly string[]; readonly outcome: LineageOutcome }> {
  const failures: string[] = []
  const sums = new Map<string, number>()
  for (let seed = from; seed < from + count; seed += 1) {
    const history = new LineageHistory(seed)
    try {
      const outcome = await history.run(stepCount)
      for (const [name, value] of Object.entries(outcome)) {
        sums.set(name, (sums.get(name) ?? 0) + Number(value))
      }
    } catch (error) {
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
      failures.push([`seed ${seed}: ${message}`, ...history.steps].join('\n  '))
      if (failures.length >= 5) break
    }
  }
  return { failures, outcome: { ...nothing, ...Object.fromEntries(sums) } }
}
