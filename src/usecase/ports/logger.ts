/** Structured log. Fields first, a fixed lower-case phrase second; errors under `err`. */
export interface Logger {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
  /** A logger that adds `fields` to every record. */
  child(fields: LogFields): Logger
}

export type LogFields = Readonly<Record<string, unknown>>
