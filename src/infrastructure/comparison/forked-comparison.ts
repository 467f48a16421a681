import { stat } from 'node:fs/promises'
import { constants } from 'node:os'
import { CheckTimeoutError, DatabaseError } from '../../domain/errors.js'
import {
  type ComparisonRequest,
  type ComparisonResult,
  type LiveComparison,
} from '../../usecase/ports/live-comparison.js'
import { askProcess } from '../child-process/ask-process.js'

export type ComparisonReply =
  | { readonly kind: 'result'; readonly result: ComparisonResult | undefined }
  | { readonly kind: 'failed'; readonly message: string }

/** How long nothing may be read: any disk answers sooner. */
const maxIdleMs = 120_000
/** How long it may take that reads on. It reads all once, and some of it again. */
const leastMs = 600_000
const slowestBytesPerMs = 128

/** Compares in a process of its own, `entry`, with low priority: a process that has the database open must not do it. */
export function forkedComparison(entry: URL): LiveComparison {
  return {
    compare: (request, signal) => compare(entry, request, signal),
  }
}

async function compare(
  entry: URL,
  request: ComparisonRequest,
  signal: AbortSignal,
): Promise<ComparisonResult | undefined> {
  const priority = constants.priority.PRIORITY_BELOW_NORMAL
  const { size } = await stat(request.imagePath)
  const limits = { maxIdleMs, maxMs: leastMs + size / slowestBytesPerMs }
  const answer = await askProcess(entry, { ...request }, { limits, priority, signal })
  if (answer.kind === 'late' || answer.kind === 'idle') {
    throw new CheckTimeoutError(`${request.databasePath} could not be compared in time`, {
      hint: 'The disk may be slow, or the database much in use.',
    })
  }
  const reply = answer.kind === 'answer' ? (answer.value as ComparisonReply) : undefined
  if (reply?.kind === 'result') return reply.result
  const why =
    reply?.message ??
    (answer.kind === 'ended' ? `the process for it ended: ${answer.why}` : answer.kind)
  throw new DatabaseError(`cannot compare ${request.databasePath}: ${why}`)
}
