import { readFile } from 'node:fs/promises'

/** Descriptors that this process may have open at once (Node raises the soft limit to the hard one); undefined: not known. */
export async function descriptorLimit(): Promise<number | undefined> {
  const limits = await readFile('/proc/self/limits', 'utf8').catch(() => '')
  const limit = /^Max open files\s+(\d+)/m.exec(limits)?.[1]
  return limit === undefined ? undefined : Number(limit)
}
