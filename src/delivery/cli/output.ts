/** What commands print: results to stdout, what goes wrong to stderr. `replicate` prints nothing: both belong to its log. */

import { printable } from '../../kit/printable.js'

let failure: NodeJS.ErrnoException | undefined
let isUsed = false
let hasComplained = false

function stdout(): NodeJS.WriteStream {
  if (!isUsed) process.stdout.on('error', (error: NodeJS.ErrnoException) => (failure ??= error))
  isUsed = true
  return process.stdout
}

/** Text for people. */
export function print(text: string): void {
  stdout().write(printable(text, { keepsLines: true }))
}

/** The same value for a program, and as harmless for a terminal. */
export function printJson(value: unknown): void {
  print(`${JSON.stringify(value, null, 2)}\n`)
}

/** Resolves when what was printed is written: with why it could not be. A reader that has seen enough (`| head`) is no failure. */
export async function printed(): Promise<string | undefined> {
  if (!isUsed) return undefined
  // A stream that has failed takes nothing any more.
  if (failure === undefined) {
    await new Promise<void>((resolve) => process.stdout.write('', () => resolve()))
  }
  return failure === undefined || failure.code === 'EPIPE' ? undefined : failure.message
}

/** Lines for people. Where they cannot be written, the exit code has to do. */
export function complain(line: string): void {
  if (!hasComplained) process.stderr.on('error', () => undefined)
  hasComplained = true
  process.stderr.write(`${printable(line, { keepsLines: true })}\n`)
}
