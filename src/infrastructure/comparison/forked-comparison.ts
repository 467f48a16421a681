import { constants } from 'node:os'
import { DatabaseError } from '../../domain/errors.js'
import {
  type ComparisonRequest,
  type ComparisonResult,
  type LiveComparison,
} from '../../usecase/ports/live-comparison.js'
import { askProcess } from '../child-process/ask-process.js'

export type ComparisonReply =
  | { readonly kind: 'result'; readonly result: ComparisonResult | undefined }
  | { readonly kind: 'failed'; readonly message: string }

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
  const answer = await askProcess(entry, { ...request }, { priority, signal })
  const reply = answer.kind === 'answer' ? (answer.value as ComparisonReply) : undefined
  if (reply?.kind === 'result') return reply.result
  const why =
    reply?.message ??
    (answer.kind === 'ended' ? `the process for it ended: ${answer.why}` : answer.kind)
  throw new DatabaseError(`cannot compare ${request.databasePath}: ${why}`)
}
