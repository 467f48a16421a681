/**
 * What a daemon answers by its socket. It may be of another version than whoever asks, and what listens at a socket file need not be
 * a daemon: the form of an answer is looked at before anybody goes by it.
 */
import {
  errorClassOf,
  NotRunningError,
  type NotStored,
  NotStoredError,
  type TsreplicateError,
} from '../../domain/errors.js'
import { type DaemonDetails, type DaemonStatus, type NotReady } from '../../domain/status.js'
import { isGeneration } from '../../domain/wal/generation.js'
import { areNumbers, areStrings, isFields, isListOf } from '../../kit/forms.js'
import { type Stored, type StoredWithSnapshot } from '../../usecase/daemon/commit-waits.js'
import { type DaemonAnswer } from './ask-daemon.js'
import { type WantedDatabase } from './control.js'
import { isPlaces } from './sync-request.js'

/** What is stored, of `/api/sync`. Throws what the daemon refused it with, and {@link NotRunningError} for what is no such answer. */
export function parseSyncAnswer(answer: DaemonAnswer): readonly Stored[] {
  return parseAnswer(answer, (value) => listAt(value, 'stored', isStored))
}

/** As {@link parseSyncAnswer}, of `/api/snapshot`. */
export function parseSnapshotAnswer(answer: DaemonAnswer): readonly StoredWithSnapshot[] {
  return parseAnswer(answer, (value) => listAt(value, 'stored', isStoredWithSnapshot))
}

/** The databases that a daemon is to replicate, of `/api/wanted`. */
export function parseWantedAnswer(answer: DaemonAnswer): readonly WantedDatabase[] {
  return parseAnswer(answer, (value) => listAt(value, 'wanted', isWanted))
}

/** What `/api/status` says: what everybody goes by is looked at; the rest is as the version of the daemon has it. */
export function parseStatusAnswer(answer: DaemonAnswer): DaemonStatus {
  return parseAnswer(answer, (value) => (isStatus(value) ? value : undefined))
}

/** The same with what only we go by, which a daemon of another version may have otherwise. */
export function parseDetailsAnswer(
  answer: DaemonAnswer,
  { version }: { version: string },
): DaemonDetails {
  const status = parseStatusAnswer(answer)
  if (isOfVersion(status, version)) return status
  throw new NotRunningError(
    `process ${status.pid} is of version ${status.version}, and this one of ${version}`,
    { hint: 'restart the one that is older' },
  )
}

function isOfVersion(status: DaemonStatus, version: string): status is DaemonDetails {
  return status.version === version
}

/** What hangs, of `/healthz` as JSON. */
export function parseHealthAnswer({ text, contentType }: DaemonAnswer): readonly NotReady[] {
  const answer = { status: 200, contentType, text }
  return parseAnswer(answer, (value) => listAt(value, 'reasons', isNotReady))
}

/** `read`: undefined where it is not of that form. */
function parseAnswer<T>(
  { status, text }: DaemonAnswer,
  read: (value: unknown) => T | undefined,
): T {
  const value = parseJson(text)
  if (status === 200) {
    const known = read(value)
    if (known !== undefined) return known
  } else if (isFields(value) && isRefused(value['error'])) throw refusalOf(value['error'])
  const shown = text.trimEnd().slice(0, maxShownLength)
  throw new NotRunningError(`the answer of the daemon is not understood: ${shown}`, {
    hint: 'it may be of another version: restart it',
  })
}

/** Of an answer that nobody understands, for people. */
const maxShownLength = 200

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

interface Refused {
  readonly code: string
  readonly message: string
  readonly hint?: string
  readonly missing?: readonly NotStored[]
  readonly retryable?: boolean
  readonly cause?: Refused
}

function refusalOf({ code, message, cause, ...details }: Refused): TsreplicateError {
  const Known = errorClassOf(code) ?? NotStoredError
  return new Known(message, {
    ...details,
    ...(cause === undefined ? {} : { cause: refusalOf(cause) }),
  })
}

function isRefused(value: unknown): value is Refused {
  return (
    isFields(value) &&
    isString(value['code']) &&
    isString(value['message']) &&
    (value['hint'] === undefined || isString(value['hint'])) &&
    (value['missing'] === undefined || isListOf(value['missing'], isNotStored)) &&
    (value['retryable'] === undefined || typeof value['retryable'] === 'boolean') &&
    (value['cause'] === undefined || isRefused(value['cause']))
  )
}

function isNotStored(value: unknown): value is NotStored {
  return isFields(value) && areStrings(value, ['database', 'replica', 'detail'])
}

function isStored(value: unknown): value is Stored {
  return (
    isFields(value) &&
    areStrings(value, ['database']) &&
    isPosition(value['position']) &&
    areNumbers(value, ['commitTimeMs']) &&
    isListOf(value['replicas'], isStoredReplica)
  )
}

function isStoredReplica(value: unknown): value is Stored['replicas'][number] {
  return isFields(value) && areStrings(value, ['name']) && areNumbers(value, ['storedAtMs'])
}

function isStoredWithSnapshot(value: unknown): value is StoredWithSnapshot {
  return isStored(value) && isListOf(value.replicas, hasSnapshot)
}

function hasSnapshot(value: unknown): value is StoredWithSnapshot['replicas'][number] {
  if (!isFields(value)) return false
  const { snapshot } = value
  return isFields(snapshot) && areNumbers(snapshot, ['index', 'takenAtMs'])
}

function isPosition(value: unknown): boolean {
  if (!isFields(value)) return false
  const { generation } = value
  return isString(generation) && isGeneration(generation) && areNumbers(value, ['index', 'offset'])
}

function isWanted(value: unknown): value is WantedDatabase {
  return isFields(value) && areStrings(value, ['path']) && isPlaces(value['replicas'])
}

function isStatus(value: unknown): value is DaemonStatus {
  return (
    isFields(value) &&
    areStrings(value, ['version']) &&
    areNumbers(value, ['pid', 'startedAtMs']) &&
    isListOf(value['notReady'], isNotReady) &&
    isListOf(value['databases'], isDatabase) &&
    isListOf(value['fileSystems'], isFields)
  )
}

function isNotReady(value: unknown): value is NotReady {
  return isFields(value) && areStrings(value, ['database', 'reason'])
}

function isDatabase(value: unknown): value is DaemonStatus['databases'][number] {
  return (
    isFields(value) &&
    areStrings(value, ['path', 'state']) &&
    isListOf(value['replicas'], isReplica)
  )
}

function isReplica(value: unknown): boolean {
  return isFields(value) && areStrings(value, ['name'])
}

function isString(value: unknown): value is string {
  return typeof value === 'string'
}

function listAt<T>(
  value: unknown,
  name: string,
  is: (each: unknown) => each is T,
): readonly T[] | undefined {
  const list = isFields(value) ? value[name] : undefined
  return isListOf(list, is) ? list : undefined
}
