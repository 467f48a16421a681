/** Runs the program as if in a container, or on another machine: Linux gives it names and processes of its own. */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { program, Running, temporaryFolder } from './cli.ts'
import { sayAtTheEnd } from './last-lines.ts'

export interface Place {
  readonly host: string
  /** Another machine's start; absent: this machine's, as in a container. */
  readonly boot?: string
}

const namespaces = [
  ...(process.getuid?.() === 0 ? [] : ['--map-root-user']),
  ...['--uts', '--pid', '--mount', '--fork', '--kill-child'],
]

/** Why this machine lets nobody do that; undefined where it does. */
export const whyNotElsewhere: string | undefined = (() => {
  const script = 'mount -t proc proc /proc && hostname elsewhere'
  const tried = spawnSync('unshare', [...namespaces, 'sh', '-c', script], { encoding: 'utf8' })
  return tried.status === 0 ? undefined : tried.stderr || String(tried.error)
})()
if (whyNotElsewhere !== undefined) {
  sayAtTheEnd(`daemons as if on two machines were not tested: ${whyNotElsewhere}`)
}

/** The program at another place. Signals reach it, not what started it. */
export class Elsewhere extends Running {
  /** Its number as it is seen from here. */
  get innerPid(): number {
    const children = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, 'utf8')
    const [first] = children.trim().split(' ')
    if (first === undefined || first === '') throw new Error(`${this.name} runs nothing`)
    return Number(first)
  }

  override signal(signal: NodeJS.Signals): void {
    process.kill(this.innerPid, signal)
  }
}

/** What runs a command as process 1 of a container. */
export function contained(command: readonly string[]): readonly string[] {
  const script = 'mount -t proc proc /proc && exec "$@"'
  return ['unshare', ...namespaces, 'sh', '-c', script, 'sh', ...command]
}

/** Starts the program at another place. */
export function startElsewhere(
  place: Place,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Elsewhere {
  const script = ['mount -t proc proc /proc', `hostname ${place.host}`]
  if (place.boot !== undefined) {
    const boot = join(temporaryFolder(), 'boot_id')
    writeFileSync(boot, `${place.boot}\n`)
    script.push(`mount --bind ${boot} /proc/sys/kernel/random/boot_id`)
  }
  script.push('exec "$@"')
  const command = ['sh', '-c', script.join(' && '), 'sh', process.execPath, program, ...args]
  return new Elsewhere(place.host, 'unshare', [...namespaces, ...command], env)
}

const otherNetwork = [...(process.getuid?.() === 0 ? [] : ['--map-root-user']), '--net']

/** Why this machine gives nobody a network of their own; undefined where it does. */
export const whyNoNetworks: string | undefined = (() => {
  const tried = spawnSync('unshare', [...otherNetwork, 'true'], { encoding: 'utf8' })
  return tried.status === 0 ? undefined : tried.stderr || String(tried.error)
})()
if (whyNoNetworks !== undefined) {
  sayAtTheEnd(`what is asked from another network was not tested: ${whyNoNetworks}`)
}

/** Starts the program where nothing of this machine's network is seen, as in another container. */
export function inAnotherNetwork(...args: readonly string[]): Running {
  const command = [process.execPath, program, ...args]
  return new Running('elsewhere', 'unshare', [...otherNetwork, ...command])
}
