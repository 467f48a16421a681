/**
 * Claims a folder for one process by a file that names its holder. Node has no `flock`, so a lock is left behind when
 * its holder dies; it is taken over when the process it names is gone, or is another one that got the same number.
 *
 * Processes in different PID namespaces (containers) do not see each other: the lock does not hold between them.
 */
import { link, open, readFile, rename, rm } from 'node:fs/promises'
import { LocalStateError } from '../../domain/errors.js'
import { errorCode } from './local-files.js'

interface Holder {
  readonly pid: number
  /** When the process was started, in ticks since the machine's start; empty where that cannot be told. */
  readonly startTime: string
  /** Which start of the machine that was; empty where that cannot be told. */
  readonly bootId: string
}

/** A lock that this process holds. */
export interface FolderLock {
  release(): Promise<void>
}

let counter = 0

/** Takes the lock whose file is `path`. Throws {@link LocalStateError} while another living process has it. */
export async function takeFolderLock(path: string, folder: string): Promise<FolderLock> {
  const mine = formatHolder(await describeProcess(process.pid))
  for (let attempt = 0; attempt < 20; attempt += 1) {
    if (await tryCreate(path, mine)) {
      return { release: () => release(path, mine) }
    }
    const found = await readIfThere(path)
    if (found === undefined) continue
    const holder = parseHolder(found)
    if (holder !== undefined && (await isAlive(holder))) {
      throw new LocalStateError(`${folder} is in use by process ${holder.pid}`, {
        hint: `stop process ${holder.pid} first: one database is replicated by one process; if it is certain that no other tsreplicate runs, remove ${path}`,
      })
    }
    await removeStale(path, found)
  }
  throw new LocalStateError(`cannot take the lock ${path}: other processes keep taking it`)
}

/** Creates the lock with its content in one step, so that nobody ever reads half of it. */
async function tryCreate(path: string, content: string): Promise<boolean> {
  counter += 1
  const temporary = `${path}.${process.pid}-${counter}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(content)
    } finally {
      await file.close()
    }
    await link(temporary, path)
    return true
  } catch (error) {
    // Missing: the holder has just tidied up, temporary files and all.
    if (errorCode(error) === 'EEXIST' || errorCode(error) === 'ENOENT') return false
    throw error
  } finally {
    await rm(temporary, { force: true })
  }
}

/** Removes a lock whose content is still `content`; one that somebody else has taken meanwhile is put back. */
async function removeStale(path: string, content: string): Promise<void> {
  counter += 1
  const aside = `${path}.stale-${process.pid}-${counter}.tmp`
  try {
    await rename(path, aside)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return
    throw error
  }
  try {
    if ((await readIfThere(aside)) !== content) await link(aside, path)
  } catch (error) {
    if (errorCode(error) !== 'EEXIST' && errorCode(error) !== 'ENOENT') throw error
  } finally {
    await rm(aside, { force: true })
  }
}

async function release(path: string, mine: string): Promise<void> {
  if ((await readIfThere(path)) === mine) await rm(path, { force: true })
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

async function isAlive(holder: Holder): Promise<boolean> {
  try {
    process.kill(holder.pid, 0)
  } catch (error) {
    if (errorCode(error) === 'ESRCH') return false
    // No permission to signal it: it lives, under another user.
  }
  const now = await describeProcess(holder.pid)
  if (now.startTime === 'dead') return false
  if (now.bootId !== '' && holder.bootId !== '' && now.bootId !== holder.bootId) return false
  return now.startTime === '' || holder.startTime === '' || now.startTime === holder.startTime
}

/** What tells this process from a later one of the same number. */
async function describeProcess(pid: number): Promise<Holder> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')
  // The second field is the program's name, which may hold blanks and parentheses; the third is the state.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const dead = stat !== '' && (fields[0] === 'Z' || fields[0] === 'X')
  return {
    pid,
    startTime: dead ? 'dead' : stat === '' ? '' : (fields[19] ?? ''),
    bootId: bootId.trim(),
  }
}

function formatHolder(holder: Holder): string {
  return `${holder.pid} ${holder.startTime || '-'} ${holder.bootId || '-'}\n`
}

function parseHolder(text: string): Holder | undefined {
  const match = /^([1-9][0-9]{0,9}) (\S+) (\S+)\n$/.exec(text)
  if (match?.[1] === undefined || match[2] === undefined || match[3] === undefined) return undefined
  const orEmpty = (field: string): string => (field === '-' ? '' : field)
  return { pid: Number(match[1]), startTime: orEmpty(match[2]), bootId: orEmpty(match[3]) }
}
