import { codeOf } from '../../kit/error-text.js'

/** Whether a process of that number runs. What cannot be told counts as running, for something may be in its use. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // No permission to signal it: it lives, under another user.
    return codeOf(error) !== 'ESRCH'
  }
}
