// Loaded before the program (`--import`): makes its worker threads fail as the folder THREAD_FAULTS says. A file in it is an
// order, done once and removed: its name is what is to happen, its content to which thread.
//   kill MODULE N    terminates the thread of that module that was started as the Nth; -1: the last one
//   break MODULE N   makes it throw
//   starve MODULE    the next such thread finds no descriptor left when it starts
//   random MS        from now on, some thread or child process is killed every so many milliseconds on average
//   calm             no more
import childProcess from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'
import process from 'node:process'
import { clearTimeout, setInterval, setTimeout } from 'node:timers'
import workerThreads from 'node:worker_threads'

const folder = process.env.THREAD_FAULTS
const alive = new Map()
const children = new Set()
let starving = ''

/** For a moment, nothing can be opened. */
function takeDescriptors() {
  const [, limit] = /Max open files\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'utf8'))
  const set = (count) => `prlimit --pid ${process.pid} --nofile=${count}:`
  childProcess.spawnSync('sh', ['-c', `(sleep 0.2; ${set(limit)}) & ${set(3)}`], {
    stdio: 'ignore',
  })
}

const nameOf = (file) => path.basename(String(file))

class FaultyWorker extends workerThreads.Worker {
  constructor(file, options) {
    const isStarving = nameOf(file) === starving
    if (isStarving) starving = ''
    if (isStarving) takeDescriptors()
    super(file, options)
    alive.set(this, nameOf(file))
    this.on('exit', () => alive.delete(this))
  }
}

function of(module, which) {
  return [...alive.keys()].filter((worker) => alive.get(worker) === module).at(which)
}

function obey(order, [module, which]) {
  if (order === 'kill') void of(module, Number(which))?.terminate()
  if (order === 'break') of(module, Number(which))?.postMessage(null)
  if (order === 'starve') starving = module
  if (order === 'random') killSome(Number(module))
  if (order === 'calm') clearTimeout(pending)
}

let pending

/** Every so many milliseconds on average, a thread or a child process. */
function killSome(everyMs) {
  const kills = [
    ...[...alive.keys()].map((worker) => () => void worker.terminate()),
    ...[...children].map((child) => () => child.kill('SIGKILL')),
  ]
  kills[Math.floor(Math.random() * kills.length)]?.()
  pending = setTimeout(killSome, -Math.log(1 - Math.random()) * everyMs, everyMs).unref()
}

function obeyAll() {
  try {
    for (const order of readdirSync(folder)) {
      const content = readFileSync(path.join(folder, order), 'utf8')
      rmSync(path.join(folder, order))
      obey(order, content.split(' '))
    }
  } catch (error) {
    if (error.code !== 'EMFILE') throw error
  }
}

if (workerThreads.isMainThread && folder !== undefined) {
  workerThreads.Worker = FaultyWorker
  const { fork } = childProcess
  childProcess.fork = (...args) => {
    const child = fork(...args)
    children.add(child)
    child.on('exit', () => children.delete(child))
    return child
  }
  syncBuiltinESMExports()
  obeyAll()
  setInterval(obeyAll, 25).unref()
}
