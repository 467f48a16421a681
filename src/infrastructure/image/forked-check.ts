import { askProcess } from '../child-process/ask-process.js'
import { type CheckRequest, type CheckResult } from './image-messages.js'

/** Of Node itself some 60 MiB, of SQLite's cache 16, and of a 1 TB database's list of pages 32. */
const maxBytes = 256 * 1024 * 1024
/** A disk reads faster than this, and SQLite checks faster. */
const slowestBytesPerMs = 5 * 1024
const leastMs = 120_000

/**
 * Lets SQLite check a file of that size in a process of its own, `entry`. What is stored says what is computed for it: a
 * constraint can take hours, or a GB, in one row, and SQLite cannot be interrupted there.
 */
export async function checkInProcess(
  entry: URL,
  request: CheckRequest,
  { sizeBytes, signal }: { readonly sizeBytes: number; readonly signal: AbortSignal },
): Promise<CheckResult> {
  const maxMs = leastMs + sizeBytes / slowestBytesPerMs
  const answer = await askProcess(entry, request, { limits: { maxMs, maxBytes }, signal })
  switch (answer.kind) {
    case 'answer':
      return answer.value as CheckResult
    case 'late':
      return { verdict: 'unfinished', detail: `it did not end in ${Math.round(maxMs / 1000)} s` }
    case 'too large':
      return { verdict: 'unfinished', detail: `it took more than ${maxBytes >> 20} MiB of memory` }
    case 'ended':
      return { verdict: 'failed', detail: `the process for it ended: ${answer.why}` }
  }
}
