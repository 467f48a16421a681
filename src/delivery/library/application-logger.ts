import { type LogFields } from '../../usecase/ports/logger.js'
import { carefully } from './carefully.js'
import { type LogLevel } from './messages.js'

/** Takes what is logged: structured fields, errors under `err`, and a fixed phrase. A logger of pino is one. */
export interface Logger {
  /** What helps to find an error. */
  debug(fields: LogFields, message: string): void
  /** What has been done. */
  info(fields: LogFields, message: string): void
  /** What is to be known, or fails and is tried again. */
  warn(fields: LogFields, message: string): void
  /** What fails, and wants somebody. */
  error(fields: LogFields, message: string): void
}

const levels: readonly LogLevel[] = ['debug', 'info', 'warn', 'error']

/** Whether it has all the functions of one. */
export function isLogger(value: unknown): value is Logger {
  const isThing = (typeof value === 'object' && value !== null) || typeof value === 'function'
  return isThing && levels.every((level) => typeof Reflect.get(value, level) === 'function')
}

/** As the logger, but what it throws is no matter of whoever logs. */
export function careful(logger: Logger): Logger {
  const write =
    (level: LogLevel): Logger[LogLevel] =>
    (fields, message) => {
      // There is nobody left to tell.
      carefully(
        () => logger[level](fields, message),
        () => undefined,
      )
    }
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
  }
}
