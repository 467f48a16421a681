import { spawnSync } from 'node:child_process'
import { codeOf } from '../../kit/error-text.js'

/** No program can have this path. */
const nothing = '/dev/null/nothing'

/**
 * Whether this process may go on as another program. A sandbox may forbid it, as by a seccomp filter, and Node ends a process
 * whose `execve` fails. So a child tries it, with a program that is not there. What it fails with else is told.
 */
export function whyNotExecute(): string | undefined {
  if (process.execve === undefined) return 'this Node.js cannot execute a program in its place'
  const { error, signal } = spawnSync(nothing, { stdio: 'ignore' })
  const code = codeOf(error)
  if (code === 'ENOTDIR' || code === 'ENOENT') return undefined
  return `this process may not execute a program: ${code ?? signal ?? 'unknown'}`
}
