import { type Logger } from '../../src/usecase/ports/logger.ts'

/** For what is not looked at by what it says. */
export const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
}
