import {
  ConfigError,
  NotRunningError,
  NotStoredError,
  type TsreplicateError,
  UsageError,
  type NotStored,
} from '../../domain/errors.js'
import { type Stored, type StoredWithSnapshot } from '../../usecase/daemon/commit-waits.js'
import { type DaemonAnswer } from './ask-daemon.js'

interface Refused {
  readonly code: string
  readonly message: string
  readonly hint?: string
  readonly missing?: readonly NotStored[]
}

/** The daemon and this command are of one installation: the form is not looked at. One that was not restarted knows no such request. */
export function parseSyncAnswer(answer: DaemonAnswer): readonly Stored[] {
  return (parseAnswer(answer) as { stored: readonly Stored[] }).stored
}

/** As {@link parseSyncAnswer}. */
export function parseSnapshotAnswer(answer: DaemonAnswer): readonly StoredWithSnapshot[] {
  return (parseAnswer(answer) as { stored: readonly StoredWithSnapshot[] }).stored
}

/** The databases that a daemon is to replicate. */
export function parseWantedAnswer(answer: DaemonAnswer): ReadonlySet<string> {
  return new Set((parseAnswer(answer) as { wanted: readonly string[] }).wanted)
}

function parseAnswer({ status, text }: DaemonAnswer): unknown {
  if (!text.startsWith('{')) {
    throw new NotRunningError(`the daemon does not know what it is asked: ${text.trimEnd()}`, {
      hint: 'restart it: it is of an earlier version',
    })
  }
  if (status === 200) return JSON.parse(text)
  throw refused((JSON.parse(text) as { error: Refused }).error)
}

function refused({ code, message, hint, missing = [] }: Refused): TsreplicateError {
  const options = { missing, ...(hint === undefined ? {} : { hint }) }
  switch (code) {
    case 'USAGE':
      return new UsageError(message, options)
    case 'CONFIG':
      return new ConfigError(message, options)
    default:
      return new NotStoredError(message, options)
  }
}
