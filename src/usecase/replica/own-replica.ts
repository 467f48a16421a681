/**
 * One writer for each replica. In one file because every part of it reads and writes the one object that names the owner,
 * and what it is held to be must not be known in two places.
 */
import { InUseError, ReplicaError } from '../../domain/errors.js'
import { following } from '../../domain/stored/lineage.js'
import { describeProcess, isSameProcess } from '../../domain/process-identity.js'
import {
  type ClaimVerdict,
  formatReplicaOwner,
  judgeOwner,
  parseReplicaOwner,
  type RememberedClaims,
  type ReplicaOwner,
  type StoredRecord,
} from '../../domain/stored/replica-owner.js'
import { isAbortError } from '../../kit/abort.js'
import { type Remembered } from '../ports/remembered.js'
import { type Clock } from '../ports/clock.js'
import { type Logger } from '../ports/logger.js'
import { type Processes } from '../ports/processes.js'
import { type OwnerObject, type ReplicaClient } from '../ports/replica-client.js'
import { type Refusal } from '../refusal.js'

export interface OwnReplicaOptions {
  readonly client: ReplicaClient
  readonly processes: Processes
  readonly record: Remembered<RememberedClaims>
  readonly clock: Clock
  readonly logger: Logger
  /** Hears of a process on this machine that has the replica. */
  readonly refusal: Refusal
  readonly randomBytes: (count: number) => Uint8Array
  /** Others wait for us as long as we give a sign of life in each such while; undefined: nobody waits. */
  readonly leaseMs: number | undefined
}

/** Whether the generation may go on that was written before the claim. */
export type Claimed = 'same writer' | 'another writer'

/** By both clocks: one stands still while the machine sleeps, the other may be set. */
interface Moment {
  readonly monotonicMs: number
  readonly wallMs: number
}

/** The owner object, as we wrote it or found it last. */
interface Held {
  readonly owner: ReplicaOwner
  readonly version: string
  /** Of the one that was there before our claim; undefined: there was none. */
  readonly claimedFrom: string | undefined
}

interface Attempt {
  readonly claimed: Claimed
  /** The process that wrote from this local state before may still be at it. */
  readonly mustSettle: boolean
}

/** Longer than a former writer goes on without a look. */
const settleMs = 12_000
/** Contents of ours that are known again: far more than can be on their way, or come back by what a store has lost. */
const maxWritten = 100
/** How often a lease is looked at, and how many signs of life are given in one. */
const leaseLookMs = 1000
const renewalsPerLease = 3

/**
 * Keeps a replica to one writer. The replica's owner object is claimed before anything is written. Afterwards it is
 * looked at before a write when the last look is too old, so that a replica at which nothing happens costs no request.
 * A new owner that is not the same local state begins a generation, so that what both may write in between is never in
 * one and the same.
 */
export class OwnReplica {
  readonly #options: OwnReplicaOptions
  #held: Held | undefined
  /** Why nobody can be kept from writing here. */
  #unguarded: ReplicaError | undefined
  #saidUnguarded = false
  #takenBy: string | undefined
  #formerOwner: string | undefined
  #handedOver: StoredRecord | undefined
  #look: Moment = { monotonicMs: Number.NEGATIVE_INFINITY, wallMs: 0 }
  /** Claims whose answer did not arrive. */
  readonly #attempts = new Map<string, Attempt>()
  /** The latest that this process has sent, noted before each is sent: which of them are there, no answer may tell. */
  #written: readonly string[] = []
  /** The token of ours that somebody else writes with, too; undefined: nobody does. */
  #copiedToken: string | undefined
  /** Writes of the owner object go one after another. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: OwnReplicaOptions) {
    this.#options = options
  }

  /** Who has taken the replica from this process, for people. Nothing is written any more then. */
  get takenBy(): string | undefined {
    return this.#takenBy
  }

  /**
   * Whether our claim is another's, too: the owner object bears our token, and this process does not remember to have written
   * it. It is a copy, or was taken back, as by a snapshot of a virtual machine with its memory. Until it has claimed anew, and
   * begun a generation that the other one does not write to, it may not write.
   */
  get isCopied(): boolean {
    return this.#copiedToken !== undefined
  }

  /** Of our claim; 0: there is none. */
  get epoch(): number {
    return this.#held?.owner.epoch ?? 0
  }

  /** Who wrote before this process, for people, unless it was this local state. */
  get formerOwner(): string | undefined {
    return this.#formerOwner
  }

  /** What the writer before us said to be stored when it ended; undefined: it was this local state, or may still write. */
  get handedOver(): StoredRecord | undefined {
    return this.#handedOver
  }

  /** Whether there is an owner object of ours to say something in. */
  get isClaimed(): boolean {
    return this.#held !== undefined && this.#takenBy === undefined && !this.isCopied
  }

  /** What the owner object says to be stored; undefined: nothing is known. */
  get recorded(): StoredRecord | undefined {
    return this.#held?.owner.stored
  }

  /** Whether this process may write, as far as it knows. */
  get isOurs(): boolean {
    if (this.#takenBy !== undefined || this.isCopied) return false
    return this.#unguarded !== undefined || this.#held !== undefined
  }

  /**
   * Claims the replica. Takes it over from another machine at once, but for a lease, which it waits for. Throws
   * {@link InUseError} while another process of this machine has it.
   */
  async claim(signal: AbortSignal): Promise<Claimed> {
    try {
      return await this.#claim(signal)
    } catch (error) {
      if (!(error instanceof ReplicaError) || error.retryable) throw error
      // A replica whose objects can be reached is worth more than knowing who else writes to it.
      await anyGeneration(this.#options.client, signal)
      this.#unguarded = error
      return 'same writer'
    }
  }

  /** Something was stored. Where nothing can be, that is the problem, and not that the replica cannot be claimed. */
  stored(): void {
    const err = this.#unguarded
    if (err === undefined || this.#saidUnguarded) return
    this.#saidUnguarded = true
    this.#options.logger.warn(
      { err },
      'the replica cannot be claimed: another writer would not be noticed',
    )
  }

  /** After a claim from another writer: a generation of our own has begun, and may go on after a restart. */
  async begun(signal: AbortSignal): Promise<void> {
    const owner = this.#held?.owner
    if (owner === undefined) return
    await this.#options.record.save({ instance: owner.instance, tokens: [owner.token] }, signal)
  }

  /** Throws {@link InUseError} when another writer has taken the replica. Looks, if the last look is that old. */
  async check({ maxAgeMs }: { readonly maxAgeMs: number }, signal: AbortSignal): Promise<void> {
    if (this.#unguarded !== undefined) return
    this.#throwIfTaken()
    this.#throwIfCopied()
    if (this.#held === undefined) {
      throw new ReplicaError(`${this.#options.client.location} is not claimed yet`)
    }
    if (this.#isFresh(maxAgeMs)) return
    const look = this.#now()
    const found = await this.#options.client.readOwner(signal)
    if (found === undefined || this.#isLost(found)) return this.#claimAgain(found, signal)
    this.#judge(found)
    this.#look = look
    this.#throwIfTaken()
    this.#throwIfCopied()
  }

  /** Gives signs of life until `signal`, if others are to wait for them. */
  async renew(signal: AbortSignal): Promise<void> {
    const { clock, logger, leaseMs } = this.#options
    if (leaseMs === undefined) return
    while (!signal.aborted && this.#takenBy === undefined) {
      try {
        await clock.sleep(leaseMs / renewalsPerLease, signal)
        await this.#inTurn(() => this.#replace({ released: false }, signal))
      } catch (error) {
        if (!isAbortError(error)) logger.debug({ err: error }, 'lease not renewed')
      }
    }
  }

  /** Says what is stored. Nothing, where there is no claim. */
  async record(stored: StoredRecord, signal: AbortSignal): Promise<void> {
    await this.#inTurn(() => this.#replace({ released: false, stored }, signal))
  }

  /**
   * Says that this process writes no more, and what it has stored; undefined: as it was said before. What fails here costs
   * the next one a warning, no more.
   */
  async release(signal: AbortSignal, stored?: StoredRecord): Promise<void> {
    try {
      await this.#inTurn(() => this.#replace({ released: true, stored }, signal))
      this.#held = undefined
    } catch (error) {
      if (!isAbortError(error)) this.#options.logger.debug({ err: error }, 'replica not released')
    }
  }

  async #claim(signal: AbortSignal): Promise<Claimed> {
    const { client, clock, record } = this.#options
    let lease: { readonly version: string; readonly sinceMs: number } | undefined
    for (;;) {
      const look = this.#now()
      const found = await client.readOwner(signal)
      const owner = found === undefined ? undefined : parseReplicaOwner(found.content)
      const attempted = owner === undefined ? undefined : this.#attempts.get(owner.token)
      if (found !== undefined && owner !== undefined && attempted !== undefined) {
        this.#hold({ owner, version: found.version, claimedFrom: undefined }, look)
        return await this.#settle(attempted, signal)
      }
      const remembered = await record.load(signal)
      const verdict = await this.#verdictOn(found, owner, remembered)
      if (verdict.kind === 'in use') throw this.#inUse(owner)
      if (verdict.kind === 'leased' && found !== undefined) {
        const sinceMs = clock.monotonic()
        if (lease === undefined) this.#sayLeased(owner)
        if (lease?.version !== found.version) lease = { version: found.version, sinceMs }
        if (sinceMs - lease.sinceMs < verdict.leaseMs) {
          await clock.sleep(Math.min(leaseLookMs, verdict.leaseMs / 4), signal)
          continue
        }
      }
      const written = await this.#write({ found, owner, verdict, remembered, look }, signal)
      if (written === undefined) continue
      this.#sayClaimed(written.claimed, owner)
      return await this.#settle(written, signal)
    }
  }

  /** As after the start of a machine from a copy of its disk: the other one stops when it next looks. */
  async #settle({ claimed, mustSettle }: Attempt, signal: AbortSignal): Promise<Claimed> {
    if (mustSettle) await this.#options.clock.sleep(settleMs, signal)
    return claimed
  }

  async #verdictOn(
    found: OwnerObject | undefined,
    owner: ReplicaOwner | undefined,
    remembered: RememberedClaims | undefined,
  ): Promise<ClaimVerdict> {
    const { processes } = this.#options
    if (owner !== undefined && owner.token === this.#copiedToken) return { kind: 'another' }
    // Whoever wrote what cannot be read was no local state of ours.
    if (found !== undefined && owner === undefined) return { kind: 'another' }
    return judgeOwner(owner, {
      self: processes.self,
      isSelf: owner !== undefined && isSameProcess(owner.process, processes.self),
      state: owner === undefined ? 'ended' : await processes.stateOf(owner.process),
      tokens: remembered?.tokens ?? [],
    })
  }

  /** Writes a claim; undefined when somebody was faster. */
  async #write(
    before: {
      readonly found: OwnerObject | undefined
      readonly owner: ReplicaOwner | undefined
      readonly verdict: ClaimVerdict
      readonly remembered: RememberedClaims | undefined
      readonly look: Moment
    },
    signal: AbortSignal,
  ): Promise<Attempt | undefined> {
    const { client, clock, processes, record, randomBytes, leaseMs } = this.#options
    const { found, owner, verdict, remembered } = before
    const nowMs = clock.now()
    const mine: ReplicaOwner = {
      token: formatHex(randomBytes(8)),
      epoch: following(owner?.epoch ?? 0),
      instance: remembered?.instance ?? formatHex(randomBytes(8)),
      process: processes.self,
      claimedAtMs: nowMs,
      renewedAtMs: nowMs,
      leaseMs,
      released: false,
      stored: owner?.stored,
    }
    const isSame = verdict.kind === 'free' || verdict.kind === 'ours'
    const attempt: Attempt = {
      claimed: isSame ? 'same writer' : 'another writer',
      mustSettle: verdict.kind === 'ours' && !verdict.ended,
    }
    if (isSame) {
      const tokens = [mine.token, ...tokensToKeep(remembered?.tokens ?? [], owner)]
      await record.save({ instance: mine.instance, tokens }, signal)
    }
    this.#attempts.set(mine.token, attempt)
    const content = formatReplicaOwner(mine)
    this.#noteWriting(content)
    const version = await client.writeOwner({ content, replaces: found?.version }, signal)
    if (version === undefined) return undefined
    this.#hold({ owner: mine, version, claimedFrom: found?.version }, before.look)
    await this.#probe(content, found?.version, signal)
    return attempt
  }

  /** Asks for the same once more, on a condition that does not hold any longer: a store that does it knows no conditions. */
  async #probe(content: string, replaces: string | undefined, signal: AbortSignal): Promise<void> {
    const { client, logger } = this.#options
    try {
      const version = await client.writeOwner({ content, replaces }, signal)
      const held = this.#held
      if (version === undefined || held === undefined) return
      this.#held = { ...held, version }
      logger.warn(
        { location: client.location },
        'the store ignores conditional writes: if two daemons start at the same moment, one may notice the other only after its next write',
      )
    } catch (error) {
      if (isAbortError(error)) throw error
      logger.debug(
        { err: error },
        'could not find out whether the store supports conditional writes',
      )
    }
  }

  /** The object is not there, or not as we wrote it: somebody has removed it, or the store has lost it, and who knows what else. */
  async #claimAgain(found: OwnerObject | undefined, signal: AbortSignal): Promise<void> {
    const { client } = this.#options
    await this.#inTurn(async () => {
      const held = this.#held
      if (held === undefined) return
      const content = formatReplicaOwner(held.owner)
      this.#noteWriting(content)
      const look = this.#now()
      const version = await client.writeOwner({ content, replaces: found?.version }, signal)
      if (version !== undefined) this.#hold({ ...held, version }, look)
    })
    throw new ReplicaError(
      found === undefined
        ? `somebody removed objects of ${client.location}`
        : `the owner object of ${client.location} was acknowledged by the store, but is not there`,
      {
        retryable: false,
        hint: 'the replica is listed again; if anything is missing, a new generation begins',
      },
    )
  }

  /** Whether this is what our claim took the place of, or a part of what we wrote. */
  #isLost(found: OwnerObject): boolean {
    const held = this.#held
    if (held === undefined) return false
    return (
      found.version === held.claimedFrom ||
      isPart({ found: found.content, whole: formatReplicaOwner(held.owner) })
    )
  }

  /** Writes our owner object again. Nothing, once another one is there. */
  async #replace(
    { released, stored }: { released: boolean; stored?: StoredRecord | undefined },
    signal: AbortSignal,
  ): Promise<void> {
    const { client, clock } = this.#options
    for (;;) {
      const held = this.#held
      if (held === undefined || this.#takenBy !== undefined || this.isCopied) return
      const owner: ReplicaOwner = {
        ...held.owner,
        renewedAtMs: clock.now(),
        released,
        stored: stored ?? held.owner.stored,
      }
      const look = this.#now()
      const content = formatReplicaOwner(owner)
      this.#noteWriting(content)
      const version = await client.writeOwner({ content, replaces: held.version }, signal)
      if (version !== undefined) {
        this.#hold({ ...held, owner, version }, look)
        return
      }
      const found = await client.readOwner(signal)
      if (found === undefined) return
      if (this.#isLost(found)) this.#held = { ...held, version: found.version }
      else this.#judge(found)
    }
  }

  /** Compares what was found with what we hold. */
  #judge(found: OwnerObject): void {
    const held = this.#held
    const owner = parseReplicaOwner(found.content)
    if (held === undefined) return
    if (owner?.token === held.owner.token) {
      const isOurs = found.version === held.version || this.#written.includes(found.content)
      if (isOurs) this.#held = { ...held, version: found.version }
      else this.#noteCopied(owner)
      return
    }
    this.#takenBy ??= describeOwner(owner)
    this.#options.logger.error(
      {
        by: this.#takenBy,
        hint: 'stop one of the two; a restart of this one takes the replica back',
      },
      'replica taken over by another tsreplicate: this one no longer writes or deletes there',
    )
  }

  #noteWriting(content: string): void {
    const others = this.#written.filter((each) => each !== content)
    this.#written = [...others, content].slice(-maxWritten)
  }

  #noteCopied({ token, renewedAtMs }: ReplicaOwner): void {
    if (this.#copiedToken !== undefined) return
    this.#copiedToken = token
    const { client, logger } = this.#options
    logger.error(
      {
        location: client.location,
        writtenAt: new Date(renewedAtMs).toISOString(),
        hint: 'this machine was copied, or rolled back to an earlier state, while tsreplicate was running: if a copy is still running, stop one of the two',
      },
      'another process wrote to the replica with the claim of this one: it is claimed again, and a new generation begins',
    )
  }

  #throwIfCopied(): void {
    if (!this.isCopied) return
    const { location } = this.#options.client
    throw new ReplicaError(
      `${location} was written by another process with the claim of this one`,
      {
        retryable: false,
      },
    )
  }

  #throwIfTaken(): void {
    if (this.#takenBy === undefined) return
    throw new InUseError(`${this.#options.client.location} was taken over by ${this.#takenBy}`)
  }

  #inUse(owner: ReplicaOwner | undefined): InUseError {
    const { client, refusal } = this.#options
    const error = new InUseError(`${client.location} is in use by ${describeOwner(owner)}`, {
      hint: 'stop it first: only one process may write to a replica; a copy of a database needs a replica of its own',
    })
    refusal.refuse(error)
    return error
  }

  #sayLeased(owner: ReplicaOwner | undefined): void {
    const { logger } = this.#options
    logger.warn(
      { owner: describeOwner(owner), leaseMs: owner?.leaseMs },
      'waiting until the owner of the replica ends or its lease expires: commits are kept locally until then',
    )
  }

  #sayClaimed(claimed: Claimed, owner: ReplicaOwner | undefined): void {
    const { logger } = this.#options
    if (claimed === 'another writer') this.#formerOwner = describeOwner(owner)
    const isHandedOver = claimed === 'another writer' && owner?.released === true
    this.#handedOver = isHandedOver ? owner.stored : undefined
    const epoch = this.#held?.owner.epoch
    if (claimed === 'same writer') {
      logger.info({ epoch }, 'replica claimed')
    } else if (owner?.released === true) {
      logger.info(
        { epoch, from: describeOwner(owner) },
        'replica claimed: its former owner has ended',
      )
    } else {
      logger.warn(
        { epoch, from: describeOwner(owner) },
        'replica taken over: its former owner notices before its next write, within 10 s',
      )
    }
  }

  #hold(held: Held, look: Moment): void {
    this.#held = held
    this.#copiedToken = undefined
    this.#attempts.clear()
    this.#look = look
  }

  #now(): Moment {
    const { clock } = this.#options
    return { monotonicMs: clock.monotonic(), wallMs: clock.now() }
  }

  #isFresh(maxAgeMs: number): boolean {
    const now = this.#now()
    const wallMs = Math.abs(now.wallMs - this.#look.wallMs)
    return now.monotonicMs - this.#look.monotonicMs < maxAgeMs && wallMs < maxAgeMs
  }

  async #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(action)
    this.#turn = mine.catch(() => undefined)
    return mine
  }
}

/** The claim that is there now, which no number of claims that come to nothing may displace, and the last one tried. */
function tokensToKeep(
  remembered: readonly string[],
  found: ReplicaOwner | undefined,
): readonly string[] {
  const isFound = (token: string): boolean => token === found?.token
  const others = remembered.filter((token) => !isFound(token))
  return [...remembered.filter(isFound), ...others.slice(0, 1)]
}

function isPart({ found, whole }: { readonly found: string; readonly whole: string }): boolean {
  return found.length < whole.length && whole.startsWith(found)
}

async function anyGeneration(client: ReplicaClient, signal: AbortSignal): Promise<string> {
  for await (const generation of client.listGenerations(signal)) return generation
  return 'none'
}

/** For people. */
export function describeOwner(owner: ReplicaOwner | undefined): string {
  return owner === undefined ? 'somebody unknown' : describeProcess(owner.process)
}

function formatHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
