import { formatDuration } from '../../kit/duration.js'
import { askProcess } from '../child-process/ask-process.js'
import { type CheckRequest, type CheckResult } from './image-messages.js'

const mebibyte = 1024 * 1024
/**
 * Of Node itself some 70 MiB, of SQLite's cache for a full check 16, and of a 1 TB database's list of pages 32. A full check computes what is
 * indexed, and holds a large row three times for that. SQLite's own limit (`hard_heap_limit`) does nothing in this build
 * (`DEFAULT_MEMSTATUS=0`), so it is the process that is limited.
 */
const maxMebibytes = { quick_check: 256, integrity_check: 512 }
/** How long nothing may be read: any row takes less, and any disk answers sooner. */
const maxIdleMs = 120_000
/** How long it may take that reads on. A full check looks up each row in each index, on a slow disk in milliseconds each. */
const leastMs = 3600_000
const slowestBytesPerMs = 128

/**
 * Lets SQLite check a file of that size in a process of its own, `entry`. What is computed for it, what is stored says: a
 * column can take hours, or a GB, in one row, and SQLite cannot be interrupted there.
 */
export async function checkInProcess(
  entry: URL,
  request: CheckRequest,
  { sizeBytes, signal }: { readonly sizeBytes: number; readonly signal: AbortSignal },
): Promise<CheckResult> {
  const maxMs = leastMs + sizeBytes / slowestBytesPerMs
  const mebibytes = maxMebibytes[request.pragma]
  const limits = { maxMs, maxIdleMs, maxBytes: mebibytes * mebibyte }
  const answer = await askProcess(entry, request, { limits, signal })
  switch (answer.kind) {
    case 'answer':
      return answer.value as CheckResult
    case 'late':
      return {
        verdict: 'late',
        detail: `it took more than ${formatDuration(Math.round(maxMs / 1000) * 1000)}`,
      }
    case 'idle':
      return { verdict: 'late', detail: `it read nothing for ${formatDuration(maxIdleMs)}` }
    case 'too large':
      return { verdict: 'too large', detail: `it took more than ${mebibytes} MiB of memory` }
    case 'ended':
      return { verdict: 'failed', detail: `the process for it ended: ${answer.why}` }
  }
}
