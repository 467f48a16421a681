import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { describe, expect, test } from 'vitest'
import { type ProcessIdentity } from '../../../../src/domain/process-identity.js'
import {
  type ClaimVerdict,
  formatReplicaOwner,
  isOurClaim,
  judgeOwner,
  parseReplicaOwner,
  type ReplicaOwner,
} from '../../../../src/domain/stored/replica-owner.js'

const self: ProcessIdentity = {
  host: 'here',
  machine: 'machine-1',
  boot: 'boot-2',
  pidNamespace: 'pid:[1]',
  isContained: false,
  pid: 200,
  startTicks: '5000',
  lock: '',
  startedAtMs: Date.parse('2026-01-01T00:00:00Z'),
}
/** An earlier process of this machine. */
const earlier: ProcessIdentity = { ...self, pid: 100, startTicks: '3000' }
const beforeReboot: ProcessIdentity = { ...earlier, boot: 'boot-1' }
const inContainer: ProcessIdentity = { ...earlier, host: 'container', pidNamespace: 'pid:[2]' }
const elsewhere: ProcessIdentity = {
  ...earlier,
  host: 'there',
  machine: 'machine-2',
  boot: 'boot-3',
}

const owner: ReplicaOwner = {
  token: 'token-1',
  epoch: 3,
  instance: 'instance-1',
  process: earlier,
  claimedAtMs: Date.parse('2026-01-01T00:00:00Z'),
  renewedAtMs: Date.parse('2026-01-01T00:01:00Z'),
  leaseMs: undefined,
  released: false,
  stored: undefined,
}

interface Found {
  readonly process: ProcessIdentity
  readonly state: 'alive' | 'ended' | 'unknown'
  /** Whether our local state remembers to have made the claim. */
  readonly isRemembered: boolean
  readonly leaseMs: number | undefined
  readonly released: boolean
}

const judge = ({ process, state, isRemembered, leaseMs, released }: Found): ClaimVerdict =>
  judgeOwner(
    { ...owner, process, leaseMs, released },
    {
      self,
      isSelf: process === self,
      state,
      tokens: isRemembered ? ['token-2', 'token-1'] : ['token-2'],
    },
  )

const free: ClaimVerdict = { kind: 'free' }
const goesOn: ClaimVerdict = { kind: 'ours', ended: true }
const goesOnLater: ClaimVerdict = { kind: 'ours', ended: false }
const inUse: ClaimVerdict = { kind: 'in use' }
const another: ClaimVerdict = { kind: 'another' }
const leased: ClaimVerdict = { kind: 'leased', leaseMs: 30_000 }

describe('whoever finds', () => {
  test('nobody may write', () => {
    expect(judgeOwner(undefined, { self, isSelf: false, state: 'ended', tokens: [] })).toEqual(free)
  })

  test.each<
    [
      string,
      Pick<Found, 'process' | 'state' | 'isRemembered'>,
      { plain: ClaimVerdict; lease: ClaimVerdict; released: ClaimVerdict },
    ]
  >([
    [
      'its own claim goes on',
      { process: self, state: 'alive', isRemembered: true },
      { plain: goesOn, lease: goesOn, released: goesOn },
    ],
    [
      'itself under another database is refused',
      { process: self, state: 'alive', isRemembered: false },
      { plain: inUse, lease: inUse, released: another },
    ],
    [
      'the process before it, which has ended, goes on',
      { process: earlier, state: 'ended', isRemembered: true },
      { plain: goesOn, lease: goesOn, released: goesOn },
    ],
    [
      'a process of this machine that lives and has its local state is refused',
      { process: earlier, state: 'alive', isRemembered: true },
      { plain: inUse, lease: leased, released: goesOn },
    ],
    [
      'a process of this machine that lives with another local state is refused',
      { process: earlier, state: 'alive', isRemembered: false },
      { plain: inUse, lease: leased, released: another },
    ],
    [
      'a process of this machine that has ended with another local state takes over',
      { process: earlier, state: 'ended', isRemembered: false },
      { plain: another, lease: another, released: another },
    ],
    [
      'its own claim from before a restart of the machine goes on after a while',
      { process: beforeReboot, state: 'unknown', isRemembered: true },
      { plain: goesOnLater, lease: goesOnLater, released: goesOn },
    ],
    [
      'another local state’s claim from before a restart of the machine takes over, after its lease',
      { process: beforeReboot, state: 'unknown', isRemembered: false },
      { plain: another, lease: leased, released: another },
    ],
    [
      'its own claim from a container whose processes it does not see goes on after a while',
      { process: inContainer, state: 'unknown', isRemembered: true },
      { plain: goesOnLater, lease: goesOnLater, released: goesOn },
    ],
    [
      'a claim of a container with another local state takes over, after its lease',
      { process: inContainer, state: 'unknown', isRemembered: false },
      { plain: another, lease: leased, released: another },
    ],
    [
      'a claim of another machine takes over, after its lease',
      { process: elsewhere, state: 'unknown', isRemembered: false },
      { plain: another, lease: leased, released: another },
    ],
    [
      'a claim that another machine made with a copy of its local state takes over, after its lease',
      { process: elsewhere, state: 'unknown', isRemembered: true },
      { plain: another, lease: leased, released: another },
    ],
  ])('%s', (_, found, { plain, lease, released }) => {
    expect(judge({ ...found, leaseMs: undefined, released: false })).toEqual(plain)
    expect(judge({ ...found, leaseMs: 30_000, released: false })).toEqual(lease)
    for (const leaseMs of [undefined, 30_000]) {
      expect(judge({ ...found, leaseMs, released: true })).toEqual(released)
    }
  })

  test('a lease without end waits for an hour', () => {
    const found = { process: elsewhere, state: 'unknown', isRemembered: false } as const
    expect(judge({ ...found, leaseMs: 1e300, released: false })).toEqual({
      kind: 'leased',
      leaseMs: 3_600_000,
    })
  })

  const alive = ['alive'] as const
  const states = ['alive', 'ended', 'unknown'] as const

  test('any owner at all goes on only with a claim that it remembers of this machine, and waits for nobody who has ended', () => {
    for (const process of [self, earlier, beforeReboot, inContainer, elsewhere])
      for (const state of process === self ? alive : states)
        for (const isRemembered of [true, false])
          for (const leaseMs of [undefined, 30_000])
            for (const released of [true, false]) {
              const found = { process, state, isRemembered, leaseMs, released }
              const { kind } = judge(found)
              const context = JSON.stringify({ found, kind })
              if (kind === 'ours') {
                expect(isRemembered && process !== elsewhere, context).toBe(true)
              }
              if (released) expect(['ours', 'another'], context).toContain(kind)
              if (state === 'ended') {
                expect(['ours', 'another'], context).toContain(kind)
              }
              if (kind === 'leased') expect(leaseMs, context).toBeDefined()
            }
  })
})

describe('where the start of a machine has no name', () => {
  const nameless = (process: ProcessIdentity): ProcessIdentity => ({ ...process, boot: '' })

  test('a machine is known by its host and its own name', () => {
    const claim = { ...owner, process: nameless(earlier) }
    const tokens = [owner.token]
    expect(isOurClaim(claim, { self: nameless(self), tokens })).toBe(true)
    expect(isOurClaim(claim, { self: { ...nameless(self), host: 'there' }, tokens })).toBe(false)
    expect(isOurClaim(claim, { self: { ...nameless(self), machine: 'other' }, tokens })).toBe(false)
  })
})

describe('the text of the owner', () => {
  test.each([
    owner,
    { ...owner, leaseMs: 30_000 },
    { ...owner, released: true },
    {
      ...owner,
      stored: {
        generation: formatGeneration(new Uint8Array(8).fill(7)),
        ordinal: 3,
        hasSnapshot: true,
        position: { index: 4, offset: 4152 },
        commitTimeMs: 1_700_000_000_123,
        before: undefined,
      },
    },
    {
      ...owner,
      stored: {
        generation: formatGeneration(new Uint8Array(8).fill(7)),
        ordinal: 1,
        hasSnapshot: false,
        position: undefined,
        commitTimeMs: 0,
        before: undefined,
      },
    },
    {
      ...owner,
      stored: {
        generation: formatGeneration(new Uint8Array(8).fill(8)),
        ordinal: 2,
        hasSnapshot: false,
        position: undefined,
        commitTimeMs: 0,
        before: {
          generation: formatGeneration(new Uint8Array(8).fill(7)),
          ordinal: 1,
          hasSnapshot: true,
          position: { index: 0, offset: 4152 },
          commitTimeMs: 0,
          before: undefined,
        },
      },
    },
    { ...owner, process: { ...self, machine: '', boot: '', pidNamespace: '', startTicks: '' } },
  ])('is read as it was written', (written) => {
    expect(parseReplicaOwner(formatReplicaOwner(written))).toEqual(written)
  })

  test('holds nothing of the database', () => {
    expect(Object.keys(JSON.parse(formatReplicaOwner(owner)) as object).sort()).toEqual(
      [
        ...['version', 'token', 'epoch', 'instance', 'process', 'claimedAt', 'renewedAt'],
        ...['leaseMs', 'released', 'stored'],
      ].sort(),
    )
  })

  test('is that of nobody when it is cut short, something else, or lacks a field', () => {
    const text = formatReplicaOwner(owner)
    const last = text.lastIndexOf('}')
    for (let length = 0; length <= last; length += 1) {
      expect(parseReplicaOwner(text.slice(0, length)), text.slice(0, length)).toBeUndefined()
    }
    for (const other of ['null', '[]', '"owner"', '7', '{}']) {
      expect(parseReplicaOwner(other)).toBeUndefined()
    }
    const fields = JSON.parse(text) as Record<string, unknown>
    const wrong: Record<string, readonly unknown[]> = {
      token: [undefined, 7],
      epoch: [undefined, 1.5, '1', -1, 2 ** 53],
      instance: [undefined, null],
      process: [undefined, null, { ...earlier, pid: 0 }, { ...earlier, host: undefined }],
      claimedAt: [undefined, 'yesterday', 7],
      renewedAt: [undefined, ''],
      leaseMs: [undefined, 0, -1, '30s'],
      released: [undefined, 'no'],
    }
    for (const [key, values] of Object.entries(wrong)) {
      for (const value of values) {
        const changed = JSON.stringify({ ...fields, [key]: value })
        expect(parseReplicaOwner(changed), changed).toBeUndefined()
      }
    }
  })
})
