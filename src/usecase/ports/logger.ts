import { hintOf } from '../../domain/errors.js'

/**
 * Structured log. Fields first, a fixed lower-case phrase second; errors under `err`. What an error says of its remedy
 * appears as `hint` by itself: whoever writes records passes their fields through {@link withHint}.
 */
export interface Logger {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
  /** A logger that adds `fields` to every record. */
  child(fields: LogFields): Logger
}

/** What a log line says besides its phrase, by name. */
export type LogFields = Readonly<Record<string, unknown>>

/** The fields of a record with the hint of its error, where they have none of their own. */
export function withHint(fields: LogFields): LogFields {
  const hint = hintOf(fields['err'])
  return hint === undefined || 'hint' in fields ? fields : { ...fields, hint }
}
