import pino from 'pino'

import { codeOf } from '../../kit/error-text.js'
import { printable } from '../../kit/printable.js'
import { type LogFields, type Logger, withHint } from '../../usecase/ports/logger.js'
import { openLogDescriptor } from './log-descriptor.js'
import { LogOutput } from './log-output.js'

export interface LoggerOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly type: 'text' | 'json'
  readonly destination: 1 | 2
  /** Whether another program writes to it, too. */
  readonly isShared: boolean
}

/** A logger that writes every record before the call returns where that is possible, and never waits where it is not. */
export function createPinoLogger(options: LoggerOptions): Logger & Disposable {
  const sink = openLogDescriptor(options.destination, options.isShared)
  const output = new LogOutput(sink, (lines) => {
    // As loud as can be: whatever was to be seen may be among them.
    logger.error({ lines }, `${lines} log lines were lost: they could not be written in time`)
  })
  const format = options.type === 'json' ? (line: string) => line : formatText
  const logger = wrap(
    pino(
      {
        level: options.level,
        base: null,
        messageKey: 'msg',
        timestamp: () => `,"time":"${formatLocalTime(new Date())}"`,
        formatters: { level: (label) => ({ level: label.toUpperCase() }) },
        serializers: { err: (error: unknown) => describeError(error, options.level === 'debug') },
      },
      { write: (line: string) => output.write(format(line)) },
    ),
  )
  return { ...logger, [Symbol.dispose]: () => output[Symbol.dispose]() }
}

function wrap(logger: pino.Logger): Logger {
  return {
    debug: (fields, message) => logger.debug(withHint(fields), message),
    info: (fields, message) => logger.info(withHint(fields), message),
    warn: (fields, message) => logger.warn(withHint(fields), message),
    error: (fields, message) => logger.error(withHint(fields), message),
    child: (fields: LogFields) => wrap(logger.child(fields)),
  }
}

interface DescribedError {
  message: string
  code?: string
  cause?: string
  stack?: string
}

function describeError(error: unknown, withStack: boolean): DescribedError {
  if (!(error instanceof Error)) return { message: String(error) }
  const described: DescribedError = { message: error.message }
  const code = codeOf(error)
  if (code !== undefined) described.code = code
  if (error.cause !== undefined) {
    described.cause =
      error.cause instanceof Error ? error.cause.message : JSON.stringify(error.cause)
  }
  if (withStack && error.stack !== undefined) described.stack = error.stack
  return described
}

/** RFC 3339 with milliseconds in the local zone. */
function formatLocalTime(date: Date): string {
  const offsetMinutes = -date.getTimezoneOffset()
  const shifted = new Date(date.getTime() + offsetMinutes * 60_000).toISOString().slice(0, -1)
  if (offsetMinutes === 0) return `${shifted}Z`
  const two = (value: number): string => String(value).padStart(2, '0')
  const absolute = Math.abs(offsetMinutes)
  const sign = offsetMinutes < 0 ? '-' : '+'
  return `${shifted}${sign}${two(Math.floor(absolute / 60))}:${two(absolute % 60)}`
}

/** Turns pino's JSON line into one of Go's slog text handler. */
function formatText(line: string): string {
  const parsed: unknown = JSON.parse(line)
  if (typeof parsed !== 'object' || parsed === null) return line
  const { time, level, msg, ...fields } = { time: '', level: '', msg: '', ...parsed }
  const parts = [`time=${time}`, `level=${level}`, `msg=${quote(msg)}`]
  for (const [key, value] of Object.entries(fields)) appendField(parts, key, value)
  return `${parts.join(' ')}\n`
}

function appendField(parts: string[], key: string, value: unknown): void {
  if (key === 'err' && typeof value === 'object' && value !== null) {
    for (const [name, detail] of Object.entries(value)) {
      appendField(parts, name === 'message' ? 'err' : `err.${name}`, detail)
    }
    return
  }
  parts.push(`${key}=${quote(typeof value === 'string' ? value : JSON.stringify(value))}`)
}

function quote(text: string): string {
  return text === '' || /[\s"=\p{C}]/u.test(text) ? printable(JSON.stringify(text)) : text
}
