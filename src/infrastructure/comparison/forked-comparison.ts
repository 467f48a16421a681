import { fork } from 'node:child_process'
import { constants, setPriority } from 'node:os'
import { fileURLToPath } from 'node:url'
import { DatabaseError } from '../../domain/errors.js'
import { onAbort } from '../../kit/abort.js'
import { asError } from '../../kit/error-text.js'
import {
  type ComparisonRequest,
  type ComparisonResult,
  type LiveComparison,
} from '../../usecase/ports/live-comparison.js'

/** What the process answers. */
export type ComparisonReply =
  | { readonly kind: 'result'; readonly result: ComparisonResult | undefined }
  | { readonly kind: 'failed'; readonly message: string }

/** Compares in a process of its own, `entry`, with low priority: a process that has the database open must not do it. */
export function forkedComparison(entry: URL): LiveComparison {
  return {
    compare: (request, signal) => run(fileURLToPath(entry), request, signal),
  }
}

function run(
  entry: string,
  request: ComparisonRequest,
  signal: AbortSignal,
): Promise<ComparisonResult | undefined> {
  signal.throwIfAborted()
  return new Promise((resolve, reject) => {
    const child = fork(entry, { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    const stopping = onAbort(signal, () => void child.kill('SIGKILL'))
    child.once('spawn', () => {
      lowerPriority(child.pid)
      child.send(request)
    })
    // One that died may be told to us more than once.
    child.on('error', (cause) => {
      stopping[Symbol.dispose]()
      reject(
        new DatabaseError(`cannot compare ${request.databasePath}: no process for it`, { cause }),
      )
    })
    child.once('message', (reply: ComparisonReply) => {
      if (reply.kind === 'result') resolve(reply.result)
      else reject(new DatabaseError(`cannot compare ${request.databasePath}: ${reply.message}`))
    })
    child.once('exit', (code) => {
      stopping[Symbol.dispose]()
      reject(
        signal.aborted
          ? asError(signal.reason)
          : new DatabaseError(
              `the process that compares ${request.databasePath} ended with ${String(code)}`,
            ),
      )
    })
  })
}

function lowerPriority(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    setPriority(pid, constants.priority.PRIORITY_BELOW_NORMAL)
  } catch {
    // It only disturbs others a little more.
  }
}
