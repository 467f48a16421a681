/** Those of an application who wait for their commits. */
import assert from 'node:assert/strict'
import { resolve } from 'node:path'
import { UsageError } from '../../domain/errors.js'
import { type Config } from '../../domain/settings/config.js'
import { never } from '../../kit/abort.js'
import { formatDuration } from '../../kit/duration.js'
import { type Stored } from '../../usecase/daemon/commit-waits.js'
import { parseStoredRequest, type SyncRequest } from '../daemon/sync-request.js'
import { type EngineQuestions } from './engine-questions.js'
import { isPlain, signal as signalRule } from './options.js'
import { type StoredOptions } from './running-replication.js'
import { untoldError } from './unknown-places.js'

/** The engine keeps the time, and knows what is missing: it has so much longer to say that. */
const graceMs = 1000

/** What somebody waits for. Throws `UsageError` for options that are wrong. */
export function parseStoredOptions(options: StoredOptions): {
  readonly request: SyncRequest
  readonly signal: AbortSignal
} {
  if (!isPlain(options)) throw new UsageError('stored takes an object of options')
  const { signal = never, ...wanted } = options
  if (!signalRule.allows(signal)) throw new UsageError(`signal must be ${signalRule.wants}`)
  const { database, ...request } = parseStoredRequest(wanted)
  const path = database === undefined ? undefined : resolve(database)
  return { request: { ...request, database: path }, signal }
}

/** Resolves when the engine says so. Rejects with `NotStoredError` as the engine does, and when none says anything in time. */
export async function waitForStored(
  request: SyncRequest,
  { questions, config }: { readonly questions: EngineQuestions; readonly config: () => Config },
  signal: AbortSignal,
): Promise<Stored> {
  const gone = (how: string): Error =>
    untoldError({ what: 'not stored', why: `the engine ${how}` }, request, config())
  const silent = (): Error => {
    const why = `the engine did not answer within ${formatDuration(request.timeoutMs)}`
    return untoldError({ what: 'not known to be stored', why }, request, config())
  }
  const late = new AbortController()
  const endsAtMs = performance.now() + request.timeoutMs
  let timer = setTimeout(() => {
    if (!questions.engineIsRunning) late.abort(gone(questions.ending))
    else timer = setTimeout(() => late.abort(silent()), graceMs)
  }, request.timeoutMs)
  try {
    const answer = await questions.ask(
      {
        message: (id) => {
          const timeoutMs = Math.max(1, Math.ceil(endsAtMs - performance.now()))
          return { kind: 'await', id, request: { ...request, timeoutMs } }
        },
        gone,
      },
      AbortSignal.any([signal, late.signal]),
    )
    assert(answer.kind === 'stored')
    return answer.stored
  } finally {
    clearTimeout(timer)
  }
}
