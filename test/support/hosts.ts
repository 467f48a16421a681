/**
 * Hosts: each has a network, processes, a name, a start and a clock of its own, in Linux namespaces that are made here and
 * go with the test. A store on this machine's loopback is reached by the same address on every host, over a link that can
 * be cut.
 */
import { randomUUID } from 'node:crypto'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, program, Running, temporaryFolder } from './cli.ts'
import { Elsewhere, whyNotElsewhere } from './elsewhere.ts'
import { sayAtTheEnd } from './last-lines.ts'
import { hasCompiler } from './compiled.ts'
import { WrongClock } from './wrong-clock.ts'

/** Throws what it printed if it fails. */
function ip(...args: string[]): void {
  const { status, stderr, error } = spawnSync('ip', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr || String(error)}`)
}

/** Why there can be none on this machine; undefined where there can. */
export const whyNoHosts = ((): string | undefined => {
  if (whyNotElsewhere !== undefined) return whyNotElsewhere
  if (!hasCompiler) return 'no C compiler (cc), which their clocks need'
  const name = `tsreplicate-${process.pid}-try`
  try {
    ip('netns', 'add', name)
    ip('netns', 'delete', name)
    return undefined
  } catch (error) {
    return String(error)
  }
})()
if (whyNoHosts !== undefined) sayAtTheEnd(`fail-overs of two hosts were not tested: ${whyNoHosts}`)

let made = 0

export class Host implements AsyncDisposable {
  readonly name: string
  readonly clock: WrongClock
  readonly folder = temporaryFolder()
  readonly #boot = join(this.folder, 'boot_id')
  readonly #env: Readonly<Record<string, string>>
  /** Of this machine's end of the link, and its address. */
  readonly #link: string
  readonly #address: string
  readonly #forwarders: Running[] = []
  readonly #running = new Set<Elsewhere>()

  private constructor(
    name: string,
    { aheadMs, env }: { aheadMs: number; env: Readonly<Record<string, string>> },
  ) {
    made += 1
    this.name = `${name}-${process.pid}-${made}`
    this.#link = `t${process.pid % 1_000_000}n${made}`
    const net = (process.pid * 7 + made) % 250
    this.#address = `10.${200 + (made % 50)}.${net}.1`
    this.clock = new WrongClock(aheadMs)
    this.#env = env
    writeFileSync(this.#boot, `${randomUUID()}\n`)
  }

  /** `storePort`: of the store on this machine's loopback; undefined: none. */
  static async start(
    name: string,
    options: {
      readonly aheadMs: number
      readonly env: Readonly<Record<string, string>>
      readonly storePort: number | undefined
    },
  ): Promise<Host> {
    const host = new Host(name, options)
    const { name: space } = host
    const link = host.#link
    ip('netns', 'add', space)
    try {
      ip('-n', space, 'link', 'set', 'lo', 'up')
      ip('link', 'add', link, 'type', 'veth', 'peer', 'name', 'out', 'netns', space)
      ip('address', 'add', `${host.#address}/24`, 'dev', link)
      ip('link', 'set', link, 'up')
      ip('-n', space, 'address', 'add', host.#address.replace(/1$/, '2/24'), 'dev', 'out')
      ip('-n', space, 'link', 'set', 'out', 'up')
      if (options.storePort !== undefined) await host.#forward(String(options.storePort))
    } catch (error) {
      await host[Symbol.asyncDispose]()
      throw error
    }
    return host
  }

  /** Two steps: what a host sends to its own loopback goes over the link, and here to the store. */
  async #forward(port: string): Promise<void> {
    const script = join(root, 'test/support/forward.mjs')
    const steps = [
      [process.execPath, script, this.#address, port, '127.0.0.1', port],
      [
        ...['ip', 'netns', 'exec', this.name],
        ...[process.execPath, script, '127.0.0.1', port, this.#address, port],
      ],
    ] as const
    for (const [command, ...args] of steps) {
      const forwarder = new Running('forwarder', command, args)
      this.#forwarders.push(forwarder)
      await forwarder.waitFor(/listening/)
    }
  }

  /** Starts the program there. It is as if the machine ran on: only `restart` gives it another start. */
  start(...args: readonly string[]): Elsewhere {
    const script = [
      'mount -t proc proc /proc',
      `hostname ${this.name}`,
      `mount --bind ${this.#boot} /proc/sys/kernel/random/boot_id`,
      'exec "$@"',
    ].join(' && ')
    const namespaces = ['--uts', '--pid', '--mount', '--fork', '--kill-child']
    const command = ['sh', '-c', script, 'sh', process.execPath, program, ...args]
    const running = new Elsewhere(
      this.name,
      'ip',
      ['netns', 'exec', this.name, 'unshare', ...namespaces, ...command],
      { ...this.#env, ...this.clock.env },
    )
    this.#running.add(running)
    return running
  }

  /** Nothing passes any more, in either direction, nor is refused. */
  cut(): void {
    ip('link', 'set', this.#link, 'down')
  }

  join(): void {
    ip('link', 'set', this.#link, 'up')
  }

  /** Power off and on again: all that runs there ends at once. */
  async restart(): Promise<void> {
    await Promise.all([...this.#running].filter(({ ended }) => !ended).map((each) => each.kill()))
    this.#running.clear()
    writeFileSync(this.#boot, `${randomUUID()}\n`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.restart()
    await Promise.all(this.#forwarders.map((each) => each.kill()))
    for (const args of [
      ['link', 'delete', this.#link],
      ['netns', 'delete', this.name],
    ]) {
      spawnSync('ip', args)
    }
  }
}
