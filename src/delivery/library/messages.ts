/**
 * What the process of an application and that of its engine say to each other, and how values pass between them: what is
 * a class of ours is taken apart on one side and put together on the other.
 */
import { type Config, type DatabaseConfig } from '../../domain/settings/config.js'
import { errorClassOf, type NotStored } from '../../domain/errors.js'
import { Secret } from '../../domain/settings/secret.js'
import { type Stored } from '../../usecase/daemon/commit-waits.js'
import { type News } from '../../usecase/daemon/notice-events.js'
import { type LogFields } from '../../usecase/ports/logger.js'
import { type DaemonAnswer, type Look } from '../daemon/ask-daemon.js'
import { type StartedWith } from '../daemon/status-socket.js'
import { type SyncRequest } from '../daemon/sync-request.js'

export const logLevels = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof logLevels)[number]

export type ToEngine =
  | {
      readonly kind: 'start'
      readonly config: Config
      /** By what others ask for it: as the application started, whatever is added and removed. */
      readonly subject: StartedWith
      /** Whether databases that do not exist are to be restored, where the configuration says so. */
      readonly restores: boolean
    }
  | { readonly kind: 'stop' }
  /** Somebody wants to hear of events. */
  | { readonly kind: 'notice' }
  /** Somebody waits until his commits are stored. */
  | { readonly kind: 'await'; readonly id: number; readonly request: SyncRequest }
  /** One more database is to be replicated. */
  | { readonly kind: 'add'; readonly id: number; readonly database: DatabaseConfig }
  /** The one of this path is not any longer. */
  | { readonly kind: 'remove'; readonly id: number; readonly path: string }
  /** Somebody wants to know how everything is, what is replicated beside the process that is asked included. */
  | { readonly kind: 'look'; readonly id: number; readonly look: Look }
  /** Whoever asked does not want to know any longer. */
  | { readonly kind: 'forget'; readonly id: number }

export type FromEngine =
  | { readonly kind: 'running' }
  | {
      readonly kind: 'log'
      readonly level: LogLevel
      readonly fields: LogFields
      readonly message: string
    }
  | { readonly kind: 'news'; readonly news: News }
  | { readonly kind: 'ended'; readonly notStored: readonly NotStored[] }
  | { readonly kind: 'failed'; readonly error: Error }
  | { readonly kind: 'stored'; readonly id: number; readonly stored: Stored }
  | { readonly kind: 'added'; readonly id: number }
  | { readonly kind: 'removed'; readonly id: number; readonly notStored: readonly NotStored[] }
  | { readonly kind: 'looked'; readonly id: number; readonly answer: DaemonAnswer | undefined }
  | { readonly kind: 'refused'; readonly id: number; readonly error: Error }

type Message = ToEngine | FromEngine

/** The message as the channel between processes can carry it. */
export function packMessage(message: Message): object {
  return { ...message, ...packFields({ ...message }) }
}

/** The other way, on the side of the engine. */
export function unpackToEngine(packed: unknown): ToEngine {
  return unpack(packed) as ToEngine
}

/** The other way, on the side of the application. */
export function unpackFromEngine(packed: unknown): FromEngine {
  return unpack(packed) as FromEngine
}

const secretMark = '$tsreplicate-secret'
const errorMark = '$tsreplicate-error'

function packFields(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, pack(value)]))
}

function pack(value: unknown): unknown {
  if (value instanceof Secret) return { [secretMark]: value.reveal() }
  if (value instanceof Error) return { [errorMark]: packError(value) }
  if (Array.isArray(value)) return value.map(pack)
  if (typeof value === 'function' || typeof value === 'symbol') return String(value)
  return typeof value === 'object' && value !== null ? packFields({ ...value }) : value
}

/** What else some of them say. */
const details = ['hint', 'retryable', 'missing'] as const

interface PackedError extends Readonly<Partial<Record<(typeof details)[number], unknown>>> {
  readonly name: string
  readonly message: string
  readonly stack: string | undefined
  readonly code: unknown
  readonly cause: unknown
}

function packError(error: Error): PackedError {
  const { name, message, stack, cause } = error
  const code: unknown = Reflect.get(error, 'code')
  const others = details.map((detail) => [detail, pack(Reflect.get(error, detail))] as const)
  return {
    ...{ name, message, stack, code: pack(code), cause: pack(cause) },
    ...Object.fromEntries(others),
  }
}

function unpack(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unpack)
  if (typeof value !== 'object' || value === null) return value
  const secret: unknown = Reflect.get(value, secretMark)
  if (typeof secret === 'string') return new Secret(secret)
  const error: unknown = Reflect.get(value, errorMark)
  if (error !== undefined) return unpackError(error as PackedError)
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, unpack(entry)]))
}

function unpackError({ name, message, stack, code, cause, ...others }: PackedError): Error {
  const said = Object.entries(others).filter(([, value]) => value !== undefined)
  const options = {
    ...Object.fromEntries(said.map(([detail, value]) => [detail, unpack(value)])),
    ...(cause === undefined ? {} : { cause: unpack(cause) }),
  }
  const Known = errorClassOf(code)
  if (Known !== undefined) return new Known(message, options)
  return Object.assign(new Error(message, options), { name, stack, code })
}
