import { UsageError } from '../../domain/errors.js'
import { parseDuration } from '../../kit/duration.js'
import { formatFlag } from './command.js'

/** How long something may take, as a flag says it; undefined: it does not. Throws {@link UsageError} for what is no time. */
export function parseTimeoutFlag(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const timeoutMs = parseDuration(text)
  if (timeoutMs !== undefined && timeoutMs > 0) return timeoutMs
  throw new UsageError(`invalid ${formatFlag(name)}: ${text}`, { hint: 'Write for example 30s.' })
}
