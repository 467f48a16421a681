import { readFile } from 'node:fs/promises'

/** Whether something is mounted on this very file, as containers do with files that they are given. */
export async function isMountPoint(file: string): Promise<boolean> {
  try {
    return mountPoints(await readFile('/proc/self/mountinfo', 'utf8')).has(file)
  } catch {
    // Only Linux says.
    return false
  }
}

/** The fifth field of each line, in which blanks and backslashes are written as octal numbers. */
function mountPoints(mountInfo: string): ReadonlySet<string> {
  return new Set(
    mountInfo
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .map((path) =>
        path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
          String.fromCharCode(Number.parseInt(octal, 8)),
        ),
      ),
  )
}
