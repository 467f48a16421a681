/** The files that processes have open, as Linux shows them under /proc: those of one's own user, and to root all. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { basename } from 'node:path'

export interface OpenFile {
  readonly path: string
  readonly pid: number
  readonly program: string
}

/** Files of this process are left out, and so is what has another name here, as in a container. */
export function* openFiles(): Iterable<OpenFile> {
  for (const name of list('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const paths = new Set([...descriptorsOf(pid), ...mappingsOf(pid)].map(withoutSuffix))
    if (paths.size === 0) continue
    const program = programOf(pid)
    for (const path of paths) yield { path, pid, program }
  }
}

function descriptorsOf(pid: number): string[] {
  const folder = `/proc/${pid}/fd`
  return list(folder).flatMap((fd) => {
    const path = attempt(() => readlinkSync(`${folder}/${fd}`))
    if (path?.startsWith('/') !== true) return []
    return isSameFile(path, `${folder}/${fd}`) ? [path] : []
  })
}

/** A database in WAL mode has its index in memory, also where the descriptor is not shown. */
function mappingsOf(pid: number): string[] {
  const maps = attempt(() => readFileSync(`/proc/${pid}/maps`, 'utf8')) ?? ''
  return [...maps.matchAll(/ (\/.*-shm)$/gm)].map(([, path = '']) => path)
}

/** What lies beside a database is open because the database is. */
function withoutSuffix(path: string): string {
  return path.replace(/-(wal|shm|journal)$/, '')
}

function isSameFile(path: string, descriptor: string): boolean {
  const [a, b] = [path, descriptor].map((each) => attempt(() => statSync(each)))
  return a?.isFile() === true && a.dev === b?.dev && a.ino === b.ino
}

/** `node server.js`: an interpreter is told by what it runs. */
function programOf(pid: number): string {
  const words = (attempt(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8')) ?? '').split('\0')
  const program = basename(words[0] ?? '')
  const isInterpreter = /^(node|bun|deno|python|ruby|php|perl|java|beam)/.test(program)
  const script = isInterpreter ? words.slice(1).find((word) => /^[\w./@-]*\.\w+$/.test(word)) : ''
  return script === undefined || script === '' ? program : `${program} ${basename(script)}`
}

function list(folder: string): string[] {
  return attempt(() => readdirSync(folder)) ?? []
}

/** Processes end while they are looked at, and many may not be looked at. */
function attempt<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch {
    return undefined
  }
}
