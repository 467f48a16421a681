import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import {
  careful,
  isLogger,
  type Logger,
} from '../../../../src/delivery/library/application-logger.ts'

const levels = ['debug', 'info', 'warn', 'error'] as const

function loggerOf(write: (level: string, message: string) => unknown): Logger {
  const at = (level: string) => (_: object, message: string) => write(level, message)
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

const failure = new Error('a logger that fails')

test.each<[string, () => unknown]>([
  [
    'throws',
    () => {
      throw failure
    },
  ],
  ['rejects', () => Promise.reject(failure)],
])('a logger that %s harms nobody', async (_, fail) => {
  const said: string[] = []
  const logger = careful(
    loggerOf((level, message) => {
      said.push(`${level} ${message}`)
      return fail()
    }),
  )
  for (const level of levels) logger[level]({}, 'a line')
  // A rejection that nobody takes would end the run.
  await setImmediate()
  expect(said).toEqual(levels.map((level) => `${level} a line`))
})

test('the functions of a logger are called as its own, as those of pino have to be', () => {
  class Lines implements Logger {
    readonly lines: string[] = []
    debug = (): void => undefined
    info(_: object, message: string): void {
      this.lines.push(message)
    }
    warn = (): void => undefined
    error = (): void => undefined
  }
  const lines = new Lines()
  expect(isLogger(lines)).toBe(true)
  careful(lines).info({}, 'a line')
  expect(lines.lines).toEqual(['a line'])
})

test('a logger is whatever has its four functions', () => {
  const whole = loggerOf(() => undefined)
  expect(isLogger(whole)).toBe(true)
  expect(isLogger(console)).toBe(true)
  expect(isLogger(Object.assign(() => undefined, whole))).toBe(true)
  for (const level of levels) expect(isLogger({ ...whole, [level]: undefined })).toBe(false)
  for (const value of [undefined, null, 'pino', true, {}]) expect(isLogger(value)).toBe(false)
})
