/** A limit of memory as a container has it: a control group of Linux, which takes root and a machine that lets us make one. */
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sayAtTheEnd } from './last-lines.ts'

const versions = [
  { folder: '/sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes' },
  { folder: '/sys/fs/cgroup', limit: 'memory.max' },
]

export class MemoryLimit {
  readonly #path: string

  constructor(limitBytes: number) {
    const name = `tsreplicate-test-${randomBytes(4).toString('hex')}`
    const version = versions.find(({ folder }) => existsSync(join(folder, 'cgroup.procs')))
    if (version === undefined) throw new Error('there are no control groups of memory')
    this.#path = join(version.folder, name)
    mkdirSync(this.#path)
    try {
      writeFileSync(join(this.#path, version.limit), String(limitBytes))
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
  }

  /** The arguments of `sh` that run a command within the limit. */
  within(...command: readonly string[]): string[] {
    return ['-c', `echo $$ > ${this.#path}/cgroup.procs && exec "$@"`, 'sh', ...command]
  }

  /** How many processes the kernel has killed for their memory. */
  get kills(): number {
    const files = ['memory.oom_control', 'memory.events'].map((name) => join(this.#path, name))
    const text = files.filter((file) => existsSync(file)).map((file) => readFileSync(file, 'utf8'))
    return Number(/^oom_kill (\d+)$/m.exec(text.join('\n'))?.[1] ?? Number.NaN)
  }

  /** Nothing runs in it any more. */
  [Symbol.dispose](): void {
    rmdirSync(this.#path)
  }
}

/** Why there can be none here. */
export const whyNoMemoryLimit: string | undefined = (() => {
  try {
    new MemoryLimit(1 << 30)[Symbol.dispose]()
    return undefined
  } catch (error) {
    return String(error)
  }
})()
if (whyNoMemoryLimit !== undefined) {
  sayAtTheEnd(`nothing was run within little memory: ${whyNoMemoryLimit}`)
}
