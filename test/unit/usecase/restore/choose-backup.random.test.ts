/** Any subset of a replica's objects is lost: what is restored is the newest commit, or it is said what is lost. */
import { expect, test } from 'vitest'
import { CorruptionError, NoBackupError } from '../../../../src/domain/errors.js'
import { BrokenChainError } from '../../../../src/domain/stored/chain-verifier.js'
import { parseGeneration } from '../../../../src/domain/wal/generation.js'
import { comparePositions, formatPosition } from '../../../../src/domain/wal/position.js'
import {
  chainStart,
  headOf,
  succession,
  tailOf,
} from '../../../../src/domain/stored/segment-chain.js'
import { messageOf } from '../../../../src/kit/error-text.ts'
import { chooseBackup } from '../../../../src/usecase/restore/choose-backup.js'
import {
  type Backup,
  type RestoreRequest,
  type RestoreSource,
} from '../../../../src/usecase/restore/restore-types.js'
import { TrailerReader } from '../../../../src/usecase/stored/trailers.js'
import { type Commit, LossyReplica } from '../../../support/lossy-replica.js'
import { randomFrom } from '../../../support/retention-model.js'

const histories = Number(process.env['TSREPLICATE_HISTORIES'] ?? 1000)
const signal = new AbortController().signal

type Outcome =
  | { readonly kind: 'restored'; readonly backup: Backup; readonly notes: readonly string[] }
  | { readonly kind: 'refused'; readonly error: Error & { readonly hint?: string | undefined } }

/** As a restore does it, that proves the chain of what it reads. */
async function restore(
  replica: LossyReplica,
  wanted: Partial<RestoreRequest> = {},
): Promise<Outcome> {
  const source: RestoreSource = { name: 'memory', client: replica.client }
  const request: RestoreRequest = {
    sources: [source],
    generation: undefined,
    target: { kind: 'latest' },
    outputPath: '/out',
    parallelism: 1,
    integrityCheck: 'none',
    dryRun: true,
    command: (flags) => JSON.stringify(flags),
    ...wanted,
  }
  const notes: string[] = []
  const choosing = { notes, failed: new Map<RestoreSource, unknown>(), losses: [], signal }
  try {
    const backup = await chooseBackup(request, [source], choosing)
    await prove(backup)
    return { kind: 'restored', backup, notes: [...notes, ...backup.notes] }
  } catch (error) {
    if (!(error instanceof CorruptionError) && !(error instanceof NoBackupError)) throw error
    return { kind: 'refused', error }
  }
}

async function prove(backup: Backup): Promise<void> {
  const trailers = new TrailerReader(backup.source.client, [], signal)
  let tail = chainStart(backup.snapshot.index)
  for (const segment of backup.segments) {
    const trailer = await trailers.segment(segment)
    if (succession(tail, headOf(segment, trailer)).kind !== 'continues') {
      throw await backup.explainDamage(new BrokenChainError('a segment is missing', tail))
    }
    tail = tailOf(segment, trailer)
  }
}

function describeCommit(commit: Pick<Commit, 'generation' | 'position'> | undefined): string {
  return commit === undefined
    ? 'none'
    : formatPosition({ generation: commit.generation, ...commit.position })
}

function commitOf(replica: LossyReplica, backup: Backup): Commit {
  const { generation } = backup.listing
  const found = replica.commits.find(
    (each) =>
      each.generation === generation && comparePositions(each.position, backup.position) === 0,
  )
  if (found === undefined)
    throw new Error(`${describeCommit({ ...backup, generation })} is no commit`)
  return found
}

/** What the command that was printed restores. */
async function follow(replica: LossyReplica, hint: string): Promise<Commit> {
  const flags = JSON.parse(hint.slice(hint.indexOf('['))) as string[]
  const valueOf = (flag: string): string | undefined => {
    const at = flags.indexOf(flag)
    return at === -1 ? undefined : flags[at + 1]
  }
  const [index, offset] = (valueOf('-index') ?? '').split(':')
  const position = { index: Number.parseInt(index ?? '', 16), offset: Number(offset) }
  const outcome = await restore(replica, {
    generation: parseGeneration(valueOf('-generation') ?? ''),
    target: offset === undefined ? { kind: 'latest' } : { kind: 'position', position },
  })
  if (outcome.kind === 'refused')
    throw new Error(`the command is refused: ${outcome.error.message}`)
  return commitOf(replica, outcome.backup)
}

const counts = { restored: 0, newest: 0, older: 0, refused: 0 }

async function check(seed: number): Promise<void> {
  const replica = new LossyReplica(randomFrom(seed))
  replica.lose()
  const outcome = await restore(replica)
  const { best, newest } = replica
  if (outcome.kind === 'refused') {
    counts.refused += 1
    const { error } = outcome
    if (best === newest) throw new Error(`refused, though all is there: ${error.message}`)
    if (best === undefined) return
    if (error.hint === undefined) throw new Error(`no command: ${error.message}`)
    const left = await follow(replica, error.hint)
    if (left !== best) {
      throw new Error(
        `the command restores ${describeCommit(left)}, ${describeCommit(best)} is left`,
      )
    }
    return
  }
  counts.restored += 1
  const commit = commitOf(replica, outcome.backup)
  if (commit === newest) {
    counts.newest += 1
    return
  }
  counts.older += 1
  const proof = replica.proofBehind(commit)
  // The first snapshot of a generation may be under way as long as its writer lives.
  const isUnderWay = outcome.notes.some((note) => note.includes('has no snapshot yet'))
  if (proof === undefined || (isUnderWay && replica.ownerKind === 'old, alive')) return
  throw new Error(
    `restored ${describeCommit(commit)} of ${describeCommit(newest)}, against ${proof}`,
  )
}

test(`of ${histories} replicas that have lost objects, each is restored to its newest commit or refused`, async () => {
  for (let seed = 1; seed <= histories; seed += 1) {
    try {
      await check(seed)
    } catch (error) {
      throw new Error(`history ${seed}: ${messageOf(error)}`, {
        cause: error,
      })
    }
  }
  // Each kind of outcome is met, or the histories are not what they should be.
  expect(Math.min(...Object.values(counts))).toBeGreaterThan(histories / 50)
})
