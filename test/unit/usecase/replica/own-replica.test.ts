/** One writer to a replica, with the wait and the leases by a clock that stands still until a test moves it. */
import { beforeEach, describe, expect, test } from 'vitest'
import { InUseError, ReplicaError } from '../../../../src/domain/errors.js'
import { isSameProcess, type ProcessIdentity } from '../../../../src/domain/process-identity.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { ownerObjectName } from '../../../../src/domain/stored/replica-layout.js'
import {
  parseReplicaOwner,
  type RememberedClaims,
  type ReplicaOwner,
  type StoredRecord,
} from '../../../../src/domain/stored/replica-owner.js'
import { isAbortError } from '../../../../src/kit/abort.ts'
import { findOtherOwner } from '../../../../src/usecase/replica/find-other-owner.js'
import { type Claimed, OwnReplica } from '../../../../src/usecase/replica/own-replica.js'
import { type Remembered } from '../../../../src/usecase/ports/remembered.js'
import { type Clock } from '../../../../src/usecase/ports/clock.js'
import { type LogFields, type Logger } from '../../../../src/usecase/ports/logger.js'
import { Refusal } from '../../../../src/usecase/refusal.js'
import { ManualClock } from '../../../support/manual-clock.ts'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.ts'

const { signal } = new AbortController()
const secondMs = 1000

let clock: ManualClock
let client: MemoryReplicaClient
let operations: string[]
/** Processes that run now, wherever. */
let living: ProcessIdentity[]
let pids: number
let tokens: number

beforeEach(() => {
  clock = new ManualClock()
  client = new MemoryReplicaClient({ now: () => clock.now() })
  operations = []
  client.beforeOperation = (operation) => void operations.push(operation)
  living = []
  pids = 100
  tokens = 0
})

interface Machine {
  readonly host: string
  readonly boot: string
}

const here: Machine = { host: 'here', boot: 'boot-1' }
const there: Machine = { host: 'there', boot: 'boot-1-of-another' }
const restarted: Machine = { host: 'here', boot: 'boot-2' }

/** A folder of local state. */
class Folder implements Remembered<RememberedClaims> {
  claims: RememberedClaims | undefined

  load(): Promise<RememberedClaims | undefined> {
    return Promise.resolve(this.claims)
  }

  save(claims: RememberedClaims): Promise<void> {
    this.claims = claims
    return Promise.resolve()
  }
}

interface Line {
  readonly level: string
  readonly message: string
  readonly fields: LogFields
}

/** A daemon that wants the replica for itself. */
interface Daemon {
  readonly owner: OwnReplica
  readonly process: ProcessIdentity
  readonly lines: readonly Line[]
  /** Errors of which the start of the daemon has heard. */
  readonly refusals: readonly unknown[]
  /** No process any more, without having said so. */
  readonly kill: () => void
}

function start(
  machine: Machine,
  record: Remembered<RememberedClaims>,
  options: { leaseMs?: number; clock?: Clock } = {},
): Daemon {
  pids += 1
  const process: ProcessIdentity = {
    ...{ host: machine.host, machine: `id of ${machine.host}`, boot: machine.boot },
    ...{ pidNamespace: 'pid:[1]', isContained: false, pid: pids, startTicks: String(pids) },
    ...{ lock: '', startedAtMs: clock.now() },
  }
  living.push(process)
  const lines: Line[] = []
  const log =
    (level: string): Logger['info'] =>
    (fields, message) =>
      void lines.push({ level, message, fields })
  const logger: Logger = {
    ...{ debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    child: () => logger,
  }
  const refusal = new Refusal(clock, { isAlone: true })
  const refusals: unknown[] = []
  refusal.orElse(new Promise(() => undefined)).catch((error: unknown) => refusals.push(error))
  const owner = new OwnReplica({
    client,
    processes: {
      self: process,
      stateOf: (other) => {
        if (other.boot !== machine.boot) return Promise.resolve('unknown')
        const lives = living.some((each) => isSameProcess(each, other))
        return Promise.resolve(lives ? 'alive' : 'ended')
      },
    },
    record,
    clock,
    logger,
    refusal,
    randomBytes: (count) => new Uint8Array(count).fill(++tokens),
    leaseMs: undefined,
    ...options,
  })
  const kill = (): void => {
    living = living.filter((each) => each !== process)
  }
  return { owner, process, lines, refusals, kill }
}

/** What has become of a promise so far. */
function watch<T>(promise: Promise<T>): { state: 'pending' | 'failed' | { readonly is: T } } {
  const watched: { state: 'pending' | 'failed' | { readonly is: T } } = { state: 'pending' }
  promise.then(
    (is) => (watched.state = { is }),
    () => (watched.state = 'failed'),
  )
  return watched
}

function stored(): ReplicaOwner | undefined {
  const object = client.objects.get(ownerObjectName)
  return object === undefined ? undefined : parseReplicaOwner(Buffer.from(object.bytes).toString())
}

const messages = ({ lines }: Daemon, level: string): string[] =>
  lines.filter((line) => line.level === level).map(({ message }) => message)

const check = ({ owner }: Daemon): Promise<void> => owner.check({ maxAgeMs: 10 * secondMs }, signal)

/** Claimed, and killed. */
async function killedOwner(
  machine: Machine,
  record: Remembered<RememberedClaims>,
): Promise<Daemon> {
  const daemon = start(machine, record)
  await daemon.owner.claim(signal)
  daemon.kill()
  return daemon
}

/** The next write of the owner object is done, and nobody is told so. */
function loseOneAnswer(): void {
  const write = client.writeOwner.bind(client)
  client.writeOwner = async (...args) => {
    client.writeOwner = write
    await write(...args)
    throw new ReplicaError('the answer was lost')
  }
}

describe('a claim', () => {
  test('of a replica that nobody has is made at once', async () => {
    const daemon = start(here, new Folder())
    await expect(daemon.owner.claim(signal)).resolves.toBe<Claimed>('same writer')
    expect(daemon.owner.isOurs).toBe(true)
    expect(stored()).toMatchObject({ epoch: 1, process: daemon.process, released: false })
    expect(messages(daemon, 'info')).toEqual(['replica claimed'])
    expect(messages(daemon, 'warn')).toEqual([])
    // The second write finds out whether the store knows conditions.
    expect(operations).toEqual(['readOwner', 'writeOwner', 'writeOwner'])
    expect(clock.monotonic()).toBe(0)
  })

  test('from the same local state goes on at once after the process has ended, however it did', async () => {
    const record = new Folder()
    await killedOwner(here, record)
    const next = start(here, record)
    await expect(next.owner.claim(signal)).resolves.toBe<Claimed>('same writer')
    await next.owner.release(signal)
    expect(stored()?.released).toBe(true)
    const last = start(restarted, record)
    await expect(last.owner.claim(signal)).resolves.toBe<Claimed>('same writer')
    expect(stored()).toMatchObject({ epoch: 3, process: last.process })
    expect(clock.monotonic()).toBe(0)
  })

  test('is remembered before it is made: a crash between the two costs nothing', async () => {
    const record = new Folder()
    await killedOwner(here, record)
    const second = start(here, record)
    client.beforeOperation = (operation) => {
      if (operation === 'writeOwner') throw new ReplicaError('the connection was lost')
    }
    await expect(second.owner.claim(signal)).rejects.toThrow('the connection was lost')
    second.kill()
    client.beforeOperation = undefined
    await expect(start(here, record).owner.claim(signal)).resolves.toBe<Claimed>('same writer')
  })

  test('may fail any number of times, by a crash or in one process, and what is there stays ours', async () => {
    const record = new Folder()
    await killedOwner(here, record)
    client.beforeOperation = (operation) => {
      if (operation === 'writeOwner') throw new ReplicaError('the connection was lost')
    }
    for (let i = 0; i < 3; i += 1) {
      const crashing = start(here, record)
      for (let j = 0; j < 3; j += 1) {
        await expect(crashing.owner.claim(signal)).rejects.toThrow('the connection was lost')
      }
      crashing.kill()
    }
    client.beforeOperation = undefined
    await expect(start(here, record).owner.claim(signal)).resolves.toBe<Claimed>('same writer')
    expect(record.claims?.tokens.length).toBeLessThanOrEqual(3)
  })

  test('whose answer was lost is known again', async () => {
    await killedOwner(there, new Folder())
    const daemon = start(here, new Folder())
    loseOneAnswer()
    await expect(daemon.owner.claim(signal)).rejects.toThrow('the answer was lost')
    expect(stored()).toMatchObject({ epoch: 2, process: daemon.process })
    await expect(daemon.owner.claim(signal)).resolves.toBe<Claimed>('another writer')
    expect(stored()?.epoch).toBe(2)
    await expect(check(daemon)).resolves.toBeUndefined()
  })

  test('of a replica that a living process of this machine has is refused, and the start hears of it', async () => {
    const first = start(here, new Folder())
    await first.owner.claim(signal)
    const second = start(here, new Folder())
    const refused = `memory is in use by process ${first.process.pid} on here, started 2026-01-01T00:00:00Z`
    await expect(second.owner.claim(signal)).rejects.toThrow(refused)
    expect(second.refusals).toEqual([expect.any(InUseError)])
    expect(second.owner.isOurs).toBe(false)
    expect(stored()?.process).toEqual(first.process)
  })

  test('by an owner that cannot be read, or is not remembered any more, is another writer’s', async () => {
    for (const content of ['', '{"version": 9}']) {
      client.objects.set(ownerObjectName, { bytes: Buffer.from(content), createdAtMs: 0 })
      const daemon = start(here, new Folder())
      await expect(daemon.owner.claim(signal)).resolves.toBe<Claimed>('another writer')
      expect(daemon.lines.find(({ level }) => level === 'warn')).toMatchObject({
        message: expect.stringMatching(/^replica taken over: /) as string,
        fields: { from: 'somebody unknown' },
      })
      daemon.kill()
    }
    // The record of the local state was lost, and with it who made the claim.
    await expect(start(here, new Folder()).owner.claim(signal)).resolves.toBe<Claimed>(
      'another writer',
    )
  })

  test('from another writer is our own only once a generation of ours has begun', async () => {
    await killedOwner(there, new Folder())
    const record = new Folder()
    const taking = await killedOwner(here, record)
    const again = start(here, record)
    await expect(again.owner.claim(signal)).resolves.toBe<Claimed>('another writer')
    await again.owner.begun(signal)
    again.kill()
    await expect(start(here, record).owner.claim(signal)).resolves.toBe<Claimed>('same writer')
    expect(messages(taking, 'warn')).toHaveLength(1)
  })

  test('of two that start at the same moment is made by one', async () => {
    const daemons = [start(here, new Folder()), start(there, new Folder())]
    let held = 0
    const both = Promise.withResolvers<undefined>()
    client.beforeOperation = async (operation) => {
      if (operation !== 'writeOwner' || held >= 2) return
      held += 1
      if (held === 2) both.resolve(undefined)
      await both.promise
    }
    const claims = await Promise.all(daemons.map(({ owner }) => owner.claim(signal)))
    expect(claims.sort()).toEqual<Claimed[]>(['another writer', 'same writer'])
    // Who came first learns at its next look that it has lost the replica.
    const loser = daemons.find(({ process }) => !isSameProcess(process, stored()!.process))!
    await clock.advance(10 * secondMs)
    await expect(check(loser)).rejects.toThrow(InUseError)
  })
})

describe('after a restart of the machine', () => {
  test('it waits twelve seconds, in which whoever runs from a copy of the same disk stops writing', async () => {
    const record = new Folder()
    const former = start(here, record)
    await former.owner.claim(signal)
    await clock.advance(secondMs)
    // The machine is not down: it is another one, made from its disk.
    const daemon = start(restarted, record)
    const claim = watch(daemon.owner.claim(signal))
    await clock.advance(9 * secondMs - 1)
    await expect(check(former)).resolves.toBeUndefined()
    await clock.advance(1)
    await expect(check(former)).rejects.toThrow(InUseError)
    await clock.advance(3 * secondMs - 1)
    expect(claim.state).toBe('pending')
    await clock.advance(1)
    expect(claim.state).toEqual({ is: 'same writer' })
    expect(messages(daemon, 'warn')).toEqual([])
    await expect(check(daemon)).resolves.toBeUndefined()
  })

  test('it waits as well when the answer to its claim was lost', async () => {
    const record = new Folder()
    await killedOwner(here, record)
    const daemon = start(restarted, record)
    loseOneAnswer()
    await expect(daemon.owner.claim(signal)).rejects.toThrow('the answer was lost')
    const claim = watch(daemon.owner.claim(signal))
    await clock.advance(12 * secondMs - 1)
    expect(claim.state).toBe('pending')
    await clock.advance(1)
    expect(claim.state).toEqual({ is: 'same writer' })
  })

  test('the wait ends when the daemon is to end', async () => {
    const record = new Folder()
    await killedOwner(here, record)
    const kill = new AbortController()
    const claim = start(restarted, record).owner.claim(kill.signal)
    const ended = claim.catch((error: unknown) => error)
    await clock.advance(secondMs)
    kill.abort()
    expect(isAbortError(await ended)).toBe(true)
  })
})

describe('a replica that another machine has', () => {
  test('is taken over at once; the former owner stops at its first look, by then ten seconds old', async () => {
    const first = start(here, new Folder())
    await first.owner.claim(signal)
    const second = start(there, new Folder())
    await expect(second.owner.claim(signal)).resolves.toBe<Claimed>('another writer')
    const by = `process ${second.process.pid} on there, started 2026-01-01T00:00:00Z`
    operations.length = 0
    await clock.advance(10 * secondMs - 1)
    await expect(check(first)).resolves.toBeUndefined()
    expect(operations).toEqual([])
    expect(first.owner.isOurs).toBe(true)
    await clock.advance(1)
    await expect(check(first)).rejects.toThrow(`memory was taken over by ${by}`)
    await expect(check(first)).rejects.toThrow(InUseError)
    expect(operations).toEqual(['readOwner'])
    expect(first.owner).toMatchObject({ takenBy: by, isOurs: false })
    expect(messages(first, 'error')).toHaveLength(1)
    await first.owner.release(signal)
    expect(stored()).toMatchObject({ process: second.process, released: false })
    await expect(check(second)).resolves.toBeUndefined()
  })

  test('is looked at after the sleep of a machine, in which one of its clocks stood still', async () => {
    let asleepMs = 0
    const sleepy: Clock = {
      now: () => clock.now() + asleepMs,
      monotonic: () => clock.monotonic(),
      sleep: (ms, until) => clock.sleep(ms, until),
    }
    const first = start(here, new Folder(), { clock: sleepy })
    await first.owner.claim(signal)
    await start(there, new Folder()).owner.claim(signal)
    await clock.advance(secondMs)
    await expect(check(first)).resolves.toBeUndefined()
    asleepMs = 8 * 3_600_000
    await expect(check(first)).rejects.toThrow(InUseError)
  })

  test('is not to be deleted from by a command, unless its owner has ended', async () => {
    const record = new Folder()
    const first = start(here, record)
    const { process: self } = first
    const other = start(there, new Folder())
    const find = (
      folder: Remembered<RememberedClaims>,
      process = self,
    ): Promise<string | undefined> =>
      findOtherOwner({ client, record: folder, self: process }, signal)
    await expect(find(record)).resolves.toBeUndefined()
    await first.owner.claim(signal)
    await expect(find(record)).resolves.toBeUndefined()
    await expect(find(new Folder())).resolves.toMatch(`process ${self.pid} on here, started `)
    // A copy of the local state does not make another machine the owner.
    await expect(find(record, other.process)).resolves.toMatch(`process ${self.pid} on here`)
    await other.owner.claim(signal)
    await expect(find(record)).resolves.toMatch(`process ${other.process.pid} on there`)
    await other.owner.release(signal)
    await expect(find(record)).resolves.toBeUndefined()
  })
})

describe('with a lease', () => {
  const leaseMs = 30 * secondMs

  /** An owner that gives signs of life until the signal. */
  async function leasing(machine: Machine, until: AbortSignal): Promise<Daemon> {
    const daemon = start(machine, new Folder(), { leaseMs })
    await daemon.owner.claim(signal)
    void daemon.owner.renew(until)
    return daemon
  }

  test.each([
    ['on another machine', there],
    ['on this machine', here],
  ])('a newcomer waits for an owner %s, and starts as soon as it has ended', async (_, machine) => {
    const end = new AbortController()
    const first = await leasing(machine, end.signal)
    const newcomer = start(here, new Folder(), { leaseMs })
    const claim = watch(newcomer.owner.claim(signal))
    await clock.advance(300 * secondMs)
    expect(claim.state).toBe('pending')
    expect(newcomer.refusals).toEqual([])
    expect(messages(newcomer, 'warn')).toEqual([
      'waiting until the owner of the replica ends or its lease expires: commits are kept locally until then',
    ])
    end.abort()
    await first.owner.release(signal)
    await clock.advance(secondMs)
    expect(claim.state).toEqual({ is: 'another writer' })
    expect(messages(newcomer, 'info')).toEqual(['replica claimed: its former owner has ended'])
  })

  test('a newcomer waits no longer than the lease after the last sign of life', async () => {
    const end = new AbortController()
    await leasing(there, end.signal)
    const newcomer = start(here, new Folder(), { leaseMs })
    const claim = watch(newcomer.owner.claim(signal))
    await clock.advance(15 * secondMs)
    // The machine is lost. Its last sign of life was ten seconds after its start.
    end.abort()
    await clock.advance(24 * secondMs)
    expect(claim.state).toBe('pending')
    await clock.advance(3 * secondMs)
    expect(claim.state).toEqual({ is: 'another writer' })
  })

  test('an idle owner gives three signs of life in each, and none once it has lost the replica', async () => {
    const first = await leasing(here, signal)
    operations.length = 0
    await clock.advance(300 * secondMs)
    expect(operations).toEqual(Array.from({ length: 30 }, () => 'writeOwner'))
    expect(stored()?.renewedAtMs).toBe(clock.now())
    // Somebody without regard for the lease.
    client.objects.delete(ownerObjectName)
    const other = start(there, new Folder())
    await other.owner.claim(signal)
    await clock.advance(20 * secondMs)
    expect(first.owner.takenBy).toContain(' on there, ')
    operations.length = 0
    await clock.advance(300 * secondMs)
    expect(operations).toEqual([])
    expect(stored()?.process).toEqual(other.process)
  })
})

describe('a claim that two processes have from one memory', () => {
  const stored1: StoredRecord = {
    ...{ generation: formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)), ordinal: 1 },
    ...{ hasSnapshot: true, position: { index: 0, offset: 32 }, commitTimeMs: 1000 },
    before: undefined,
  }

  /** Two that have claimed by the same write, and know it by the same token: neither can tell which of them it is. */
  async function twins(): Promise<readonly [Daemon, Daemon]> {
    const one = start(here, new Folder())
    await one.owner.claim(signal)
    const claimed = client
    pids -= 1
    tokens = 0
    client = new MemoryReplicaClient({ now: () => clock.now() })
    const other = start(here, new Folder())
    await other.owner.claim(signal)
    expect([...client.objects.values()]).toEqual([...claimed.objects.values()])
    claimed.become(client)
    client.readOwner = (...args) => claimed.readOwner(...args)
    client.writeOwner = (...args) => claimed.writeOwner(...args)
    client = claimed
    await clock.advance(10 * secondMs)
    return [one, other]
  }

  test('is not written with any more by the one that finds what it has not written, until it has claimed anew', async () => {
    const [one, other] = await twins()
    await expect(check(one)).resolves.toBeUndefined()
    await expect(check(other)).resolves.toBeUndefined()
    await one.owner.record(stored1, signal)
    await clock.advance(10 * secondMs)
    await expect(check(one)).resolves.toBeUndefined()
    await expect(check(other)).rejects.toThrow(
      'was written by another process with the claim of this one',
    )
    expect(other.owner).toMatchObject({ isCopied: true, isOurs: false, isClaimed: false })
    await other.owner.record({ ...stored1, ordinal: 7 }, signal)
    expect(stored()).toMatchObject({ epoch: 1, stored: { ordinal: 1 } })
    expect(messages(other, 'error')).toEqual([
      'another process wrote to the replica with the claim of this one: it is claimed again, and a new generation begins',
    ])
    await expect(other.owner.claim(signal)).resolves.toBe<Claimed>('another writer')
    expect(stored()?.epoch).toBe(2)
    expect(other.owner).toMatchObject({ isCopied: false, isOurs: true })
    await clock.advance(10 * secondMs)
    await expect(check(other)).resolves.toBeUndefined()
    await expect(check(one)).rejects.toThrow(InUseError)
  })

  test.each(['record', 'release'] as const)(
    'is found out by a %s of the other one, too, which then changes nothing',
    async (act) => {
      const [one, other] = await twins()
      await one.owner.release(signal)
      await clock.advance(1)
      const before = stored()
      await (act === 'record' ? other.owner.record(stored1, signal) : other.owner.release(signal))
      expect(stored()).toEqual(before)
      expect(other.owner.isCopied).toBe(true)
      expect(messages(other, 'error')).toHaveLength(1)
    },
  )

  test('is nobody else’s where answers were lost, or what was sent before comes late', async () => {
    const daemon = start(here, new Folder())
    await daemon.owner.claim(signal)
    const contents: string[] = []
    for (let ordinal = 1; ordinal < 4; ordinal += 1) {
      loseOneAnswer()
      const recorded = daemon.owner.record({ ...stored1, ordinal }, signal)
      await expect(recorded).rejects.toThrow('the answer was lost')
      contents.push(Buffer.from(client.objects.get(ownerObjectName)!.bytes).toString())
      await clock.advance(10 * secondMs)
      await expect(check(daemon)).resolves.toBeUndefined()
    }
    client.honoursConditions = false
    for (const content of contents) {
      await client.writeOwner({ content, replaces: undefined }, signal)
      await clock.advance(10 * secondMs)
      await expect(check(daemon)).resolves.toBeUndefined()
    }
    expect(daemon.owner.isCopied).toBe(false)
    expect(messages(daemon, 'error')).toEqual([])
  })
})

describe('an owner object that was removed', () => {
  test('makes the replica be looked at anew, and is written again', async () => {
    const daemon = start(here, new Folder())
    await daemon.owner.claim(signal)
    const before = stored()
    client.objects.delete(ownerObjectName)
    await clock.advance(10 * secondMs)
    const failure = await check(daemon).catch((error: unknown) => error)
    expect(failure).toMatchObject({ name: 'ReplicaError', retryable: false })
    expect((failure as Error).message).toContain('somebody removed objects of')
    expect(stored()).toEqual(before)
    await expect(check(daemon)).resolves.toBeUndefined()
  })
})

describe('an owner object that the store acknowledged and lost', () => {
  const lose = (count: number): void => {
    const write = client.writeOwner.bind(client)
    let left = count
    client.writeOwner = (owner, until) => {
      if (left === 0) return write(owner, until)
      left -= 1
      return Promise.resolve('a version')
    }
  }

  test('makes the replica be looked at anew, and is written again: nobody has taken it over', async () => {
    const former = start(there, new Folder())
    await former.owner.claim(signal)
    const daemon = start(here, new Folder())
    // The claim, and what the store is asked once more.
    lose(2)
    await expect(daemon.owner.claim(signal)).resolves.toBe<Claimed>('another writer')
    await clock.advance(10 * secondMs)
    await expect(check(daemon)).rejects.toThrow('was acknowledged by the store, but is not there')
    expect(stored()?.process).toEqual(daemon.process)
    await expect(check(daemon)).resolves.toBeUndefined()
    await expect(check(former)).rejects.toThrow(InUseError)
  })

  test('is written again by a sign of life, and by the end', async () => {
    const former = start(there, new Folder())
    await former.owner.claim(signal)
    const folder = new Folder()
    const daemon = start(here, folder)
    lose(2)
    await daemon.owner.claim(signal)
    await daemon.owner.release(signal)
    expect(daemon.owner.takenBy).toBeUndefined()
    expect(stored()).toMatchObject({ process: daemon.process, released: true })
  })

  test('or of which it stored a part, is written again, too', async () => {
    for (const keptBytes of [0, 1, 100]) {
      const daemon = start(here, new Folder())
      await daemon.owner.claim(signal)
      const object = client.objects.get(ownerObjectName)
      const bytes = object?.bytes.subarray(0, keptBytes) ?? new Uint8Array(0)
      client.objects.set(ownerObjectName, { bytes, createdAtMs: 0 })
      await clock.advance(10 * secondMs)
      await expect(check(daemon)).rejects.toThrow('was acknowledged by the store, but is not there')
      expect(stored()?.process).toEqual(daemon.process)
      await daemon.owner.release(signal)
      daemon.kill()
    }
  })
})

describe('a store that knows no conditions', () => {
  test('is said once at the claim, and owners are told apart all the same', async () => {
    client.honoursConditions = false
    const warning =
      'the store ignores conditional writes: if two daemons start at the same moment, one may notice the other only after its next write'
    const first = start(here, new Folder())
    await first.owner.claim(signal)
    expect(messages(first, 'warn')).toEqual([warning])
    await clock.advance(20 * secondMs)
    await expect(check(first)).resolves.toBeUndefined()
    const second = start(there, new Folder())
    await expect(second.owner.claim(signal)).resolves.toBe<Claimed>('another writer')
    expect(messages(second, 'warn')).toContain(warning)
    await clock.advance(20 * secondMs)
    await expect(check(first)).rejects.toThrow(InUseError)
    await expect(check(second)).resolves.toBeUndefined()
    expect(messages(first, 'warn')).toEqual([warning])
  })

  test('is not said of one that does, nor of one that cannot be asked', async () => {
    let writes = 0
    client.beforeOperation = (operation) => {
      if (operation === 'writeOwner' && ++writes === 2) throw new ReplicaError('it is away')
    }
    const daemon = start(here, new Folder())
    await expect(daemon.owner.claim(signal)).resolves.toBe<Claimed>('same writer')
    expect(messages(daemon, 'warn')).toEqual([])
  })
})

describe('a replica whose owner object may not be touched', () => {
  const denied = new ReplicaError('access to the owner is denied (403)', {
    retryable: false,
    hint: 'allow it',
  })

  test.each(['readOwner', 'writeOwner'])(
    'is written without a guard, which is said once something is stored (%s)',
    async (refused) => {
      client.beforeOperation = (operation) => {
        operations.push(operation)
        if (operation === refused) throw denied
      }
      const daemon = start(here, new Folder())
      await expect(daemon.owner.claim(signal)).resolves.toBe<Claimed>('same writer')
      expect(daemon.owner.isOurs).toBe(true)
      expect(daemon.lines).toEqual([])
      operations.length = 0
      await clock.advance(3600 * secondMs)
      await expect(check(daemon)).resolves.toBeUndefined()
      expect(operations).toEqual([])
      for (let i = 0; i < 3; i += 1) daemon.owner.stored()
      expect(daemon.lines).toEqual([
        {
          level: 'warn',
          message: 'the replica cannot be claimed: another writer would not be noticed',
          fields: { err: denied },
        },
      ])
      await daemon.owner.release(signal)
    },
  )

  test('is not written where nothing else may be read either', async () => {
    client.beforeOperation = () => {
      throw denied
    }
    const daemon = start(here, new Folder())
    await expect(daemon.owner.claim(signal)).rejects.toThrow(denied)
    expect(daemon.owner.isOurs).toBe(false)
    daemon.owner.stored()
    expect(daemon.lines).toEqual([])
  })

  test('is waited for where that is a failure of the moment', async () => {
    client.beforeOperation = () => {
      throw new ReplicaError('it is away')
    }
    const daemon = start(here, new Folder())
    await expect(daemon.owner.claim(signal)).rejects.toThrow('it is away')
    await expect(check(daemon)).rejects.toThrow('memory is not claimed yet')
    client.beforeOperation = undefined
    await expect(daemon.owner.claim(signal)).resolves.toBe<Claimed>('same writer')
    await expect(check(daemon)).resolves.toBeUndefined()
  })
})
