import { accessSync, constants } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { messageOf } from '../../kit/error-text.js'
import { whyNotExecute } from './may-execute.js'

/** Majors of Node that have all these flags. Others would refuse to start. */
const knownNodes = new Set([22, 24])

/** For a process that runs for long and does little. V8 heeds most of them only from its start on. */
const flags = [
  // Code is optimized when it has run ten times as much: an idle daemon never needs the compilers, whose 8 MB of code are
  // resident once they have run. A loop that is hot, as over a WAL at full speed, still gets there within its first second.
  '--no-maglev',
  '--invocation-count-for-turbofan=30000',
  '--invocation-count-for-osr=5000',
  // What a daemon allocates is short-lived.
  '--max-semi-space-size=1',
  // Of V8's own threads: there is little to collect.
  '--v8-pool-size=1',
  // Else each thread has a second mapping of V8's own code, so that calls of it are short.
  '--no-short-builtin-calls',
]

/** The C library would keep freed memory for each thread; it reads this at its start only. */
const arenas = 'MALLOC_ARENA_MAX'
/** Says that it is ours: who is started by us does not get it. */
const mark = 'TSREPLICATE_EXECUTED_ANEW'

let why: string | undefined

/**
 * Executes the program anew with flags for V8, in the same process, which takes as long as Node to start. It does not return
 * then. Whoever gives Node flags of his own keeps them.
 */
export function favourMemory(): void {
  const { env, execArgv, execPath, argv } = process
  if (env[mark] !== undefined) {
    if (env[mark] === arenas) Reflect.deleteProperty(env, arenas)
    Reflect.deleteProperty(env, mark)
    return
  }
  why = execArgv.length > 0 ? 'Node.js was given flags' : whyNotAnew()
  if (why !== undefined) return
  const added = arenas in env ? { [mark]: '' } : { [mark]: arenas, [arenas]: '1' }
  process.execve?.(execPath, [execPath, ...flags, ...argv.slice(1)], { ...env, ...added })
}

/**
 * For a process that is busy, and soon over: not worth to be executed anew. The young generation stays as small as it is at
 * first, which V8 heeds whenever it would grow, and one compiler less is resident.
 */
export function favourMemoryFromNowOn(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
  setFlagsFromString('--no-maglev')
}

/** Why the program goes on with more memory than it needs; undefined: it does not. */
export function whyMemoryIsNotFavoured(): string | undefined {
  return why
}

function whyNotAnew(): string | undefined {
  if (!knownNodes.has(Number.parseInt(process.versions.node, 10))) {
    return `flags for Node.js ${process.versions.node} are not known`
  }
  try {
    accessSync(process.execPath, constants.X_OK)
  } catch (error) {
    return messageOf(error)
  }
  return whyNotExecute()
}
