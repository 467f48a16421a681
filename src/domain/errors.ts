/**
 * The errors of tsreplicate. Each class is a decision somebody takes; `code` is stable and documented in
 * docs/errors.md (a test holds the two together). A bug is none of these: it fails an assertion.
 */

/** What every error of ours has: a stable code, a message that names the objects, and a hint that says what to do. */
export abstract class TsreplicateError extends Error {
  /** Names the class, whatever the language of whoever reads it; docs/errors.md lists them. */
  abstract readonly code: string
  /** What the reader can do about it, if the message alone does not say. */
  readonly hint: string | undefined

  constructor(message: string, options: { cause?: unknown; hint?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.hint = options.hint
  }
}

/** The command line is wrong: the user types it again. Exit code 2. */
export class UsageError extends TsreplicateError {
  readonly code = 'USAGE'
}

/** The configuration is wrong: the operator edits a file. Exit code 78. */
export class ConfigError extends TsreplicateError {
  readonly code = 'CONFIG'
}

/** An object that was listed or expected is not there: plan again. */
export class ObjectNotFoundError extends TsreplicateError {
  readonly code = 'OBJECT_NOT_FOUND'
}

/** A replica could not do what was asked. `retryable` says whether the same request can succeed later by itself. */
export class ReplicaError extends TsreplicateError {
  readonly code = 'REPLICA'
  /** Whether the same request can succeed later by itself. */
  readonly retryable: boolean

  constructor(
    message: string,
    options: { cause?: unknown; hint?: string; retryable?: boolean } = {},
  ) {
    super(message, options)
    this.retryable = options.retryable ?? true
  }
}

/** Where a new object was to be, there is one: whoever sends it looks at the replica anew. */
export class ObjectExistsError extends ReplicaError {
  constructor(message: string) {
    super(message, {
      retryable: false,
      hint: 'another process wrote this object, or put it back: the replica is listed again before the next write',
    })
  }
}

/** Stored bytes are not what was stored: nothing built from them can be trusted. */
export class CorruptionError extends TsreplicateError {
  readonly code = 'CORRUPTION'
}

/** No backup reaches what was asked for. */
export class NoBackupError extends TsreplicateError {
  readonly code = 'NO_BACKUP'
}

/** Several histories are stored, and nothing tells which is the newest: the user chooses one. */
export class AmbiguousBackupError extends TsreplicateError {
  readonly code = 'AMBIGUOUS'
}

/** The output of a restore is in the way of something, or something of it. */
export class OutputExistsError extends TsreplicateError {
  readonly code = 'OUTPUT_EXISTS'
}

/** The output of a restore cannot be written, or the memory for its check does not do: the user makes room or names another place. */
export class OutputError extends TsreplicateError {
  readonly code = 'OUTPUT'
}

/** The restored database could not be checked in time: it is known to be neither sound nor damaged. Exit code 69. */
export class CheckTimeoutError extends TsreplicateError {
  readonly code = 'CHECK_TIMEOUT'
}

/** The live database cannot be used now (locked, not a database, no permission). Looked at again later. */
export class DatabaseError extends TsreplicateError {
  readonly code = 'DATABASE'
}

/** What was open of the live database is closed, through no fault of it: it is opened again at once. */
export class LostReaderError extends DatabaseError {}

/** The local state directory (spool) cannot be read or written. */
export class LocalStateError extends TsreplicateError {
  readonly code = 'LOCAL_STATE'
}

/** Another process replicates this database, or writes to this replica: it is stopped, or this one is not started. Exit code 75. */
export class InUseError extends TsreplicateError {
  readonly code = 'IN_USE'
}

/** The address that metrics and health are to be served on is not to be had. */
export class AddressError extends TsreplicateError {
  readonly code = 'ADDRESS'
}

/** No daemon answers: the user starts it. Exit code 3. Or the engine of the library cannot be started: the message says why. */
export class NotRunningError extends TsreplicateError {
  readonly code = 'NOT_RUNNING'
}

/** Something captured, or still to be captured, that a replica does not have. */
export interface NotStored {
  /** Path of the database. */
  readonly database: string
  /** Name of the replica; `all`: each of the database. */
  readonly replica: string
  /** What is waited for, and why, for people. */
  readonly detail: string
}

/** Commits are not stored in time, or will not be by this process. They are safe in the database. */
export class NotStoredError extends TsreplicateError {
  readonly code = 'NOT_STORED'
  /** What is not stored where, and why, as far as that is known. */
  readonly missing: readonly NotStored[]

  constructor(
    message: string,
    options: { cause?: unknown; hint?: string; missing?: readonly NotStored[] } = {},
  ) {
    super(message, options)
    this.missing = options.missing ?? []
  }
}

/** Those that are told apart by their codes; {@link ReplicaError} stands for those of its kind. */
export const errorClasses = [
  UsageError,
  ConfigError,
  ObjectNotFoundError,
  ReplicaError,
  CorruptionError,
  NoBackupError,
  AmbiguousBackupError,
  OutputExistsError,
  OutputError,
  CheckTimeoutError,
  DatabaseError,
  LocalStateError,
  InUseError,
  AddressError,
  NotRunningError,
  NotStoredError,
]

const classesByCode: ReadonlyMap<unknown, (typeof errorClasses)[number]> = new Map(
  errorClasses.map((of) => [new of('').code, of]),
)

/** The class of an error that another process has told by its code; undefined: it is none of ours. */
export function errorClassOf(code: unknown): (typeof errorClasses)[number] | undefined {
  return classesByCode.get(code)
}

/** What can be done about something that was thrown, if it says so. */
export function hintOf(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'hint' in thrown && typeof thrown.hint === 'string'
    ? thrown.hint
    : undefined
}
