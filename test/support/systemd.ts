/** A systemd of its own: the first process of new namespaces, with no unit but those that a test gives it. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, globSync, readFileSync, rmdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../../src/kit/error-text.ts'
import { program, root, Running, until } from './cli.ts'
import { Patience } from './patience.ts'

const systemd = ['/lib/systemd/systemd', '/usr/lib/systemd/systemd'].find((path) =>
  existsSync(path),
)

/** Why there can be none here; undefined: it can be tried. */
export const lackOfSystemd = ((): string | undefined => {
  if (process.platform !== 'linux' || systemd === undefined) return 'systemd is not installed'
  if (process.getuid?.() !== 0) return 'that takes root'
  const namespaces = ['--fork', '--pid', '--mount-proc', '--mount', '--cgroup', 'true']
  return spawnSync('unshare', namespaces).status === 0 ? undefined : 'namespaces are not allowed'
})()

/** Where it looks for units, and nowhere else: those of this machine would set up, or clean up, the machine. */
const unitFolder = '/run/units-of-a-test'
/** What every service and this one ask for; here they are empty. */
const targets = ['nothing', 'sysinit', 'basic', 'shutdown', 'network-online', 'multi-user']

/** `root`: the folder with the files of another machine, whose systemd is started, and whose own units are there, too. */
const scriptIn = (root: string | undefined): string => `
set -e
${root === undefined ? '' : goInto(root)}
mount -t tmpfs tmpfs /run
mkdir -p ${unitFolder} /run/systemd /run/lock
for target in ${targets.join(' ')}; do
  printf '[Unit]\\nDescription=empty\\nDefaultDependencies=no\\n' > ${unitFolder}/$target.target
done
export container=test SYSTEMD_GENERATOR_PATH=/nowhere
export SYSTEMD_UNIT_PATH=${[unitFolder, ...(root === undefined ? [] : machineUnits)].join(':')}
exec ${root === undefined ? systemd : '/lib/systemd/systemd'} --system --unit=nothing.target --log-target=console --show-status=no
`

const machineUnits = ['/etc/systemd/system', '/usr/lib/systemd/system']

function goInto(root: string): string {
  return `
mount --bind '${root}' '${root}'
cd '${root}'
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
pivot_root . mnt
umount --lazy /mnt`
}

/** The unit as it is shipped, with a daemon of this checkout: what is not in its folder is not to be had, as from /tmp. */
export class ShippedUnit {
  static readonly unit = 'tsreplicate.service'
  readonly #systemd: Systemd
  readonly #log: string

  constructor(
    systemd: Systemd,
    { folder, settings = [] }: { readonly folder: string; readonly settings?: readonly string[] },
  ) {
    const { unit } = ShippedUnit
    this.#systemd = systemd
    this.#log = join(folder, 'log')
    systemd.addUnit(unit, readFileSync(join(root, 'systemd', unit), 'utf8'))
    const config = join(folder, 'tsreplicate.yml')
    const override = [
      '[Service]',
      'ExecStart=',
      `ExecStart=${process.execPath} ${program} replicate -config ${config}`,
      `BindReadOnlyPaths=${root} ${dirname(process.execPath)}`,
      `StandardOutput=append:${this.#log}`,
      `StandardError=append:${this.#log}`,
      ...settings,
    ]
    systemd.addUnit(`${unit}.d/paths.conf`, `${override.join('\n')}\n`)
  }

  /** Throws what the daemon has printed, too, if it does not come up. */
  start(): void {
    try {
      this.#systemd.control('start', ShippedUnit.unit)
    } catch (error) {
      throw new Error(`${messageOf(error)}\n${this.output}`, { cause: error })
    }
  }

  /** All that it has printed. */
  get output(): string {
    return existsSync(this.#log) ? readFileSync(this.#log, 'utf8') : ''
  }

  property(name: string): string | undefined {
    return this.#systemd.show(ShippedUnit.unit)[name]
  }

  /** The exit code. */
  stop(): Promise<number> {
    this.#systemd.run('systemctl', 'stop', ShippedUnit.unit)
    return Promise.resolve(Number(this.property('ExecMainStatus')))
  }
}

const cgroupsNow = (): string[] =>
  globSync('/sys/fs/cgroup/**/{init.scope,*.slice,*.service,*.mount,*.socket}')

export class Systemd implements AsyncDisposable {
  readonly #unshare: Running
  readonly #cgroupsBefore = cgroupsNow()

  private constructor(root: string | undefined) {
    const namespaces = ['--fork', '--kill-child', '--pid', '--mount-proc', '--mount', '--cgroup']
    this.#unshare = new Running('systemd', 'unshare', [...namespaces, 'sh', '-c', scriptIn(root)])
  }

  /** Throws what it printed if it does not come up. With `root`, it is that of the machine whose files are there. */
  static async start({ root }: { readonly root?: string } = {}): Promise<Systemd> {
    const started = new Systemd(root)
    for (const patience = new Patience(30_000); ;) {
      const state = started.run('systemctl', 'is-system-running').stdout.trim()
      if (state === 'running') return started
      if (started.#unshare.ended || patience.isOver) {
        throw new Error(`systemd is ${state}:\n${started.#unshare.output}`)
      }
      await sleep(50)
    }
  }

  /** Gives it a unit file, or a file of a unit's folder `.d`. */
  addUnit(name: string, text: string): void {
    const path = `${unitFolder}/${name}`
    const write = `mkdir -p "$(dirname ${path})" && cat > ${path}`
    execFileSync('nsenter', [...this.#inside, 'sh', '-c', write], { input: text })
    this.control('daemon-reload')
  }

  /** Runs `systemctl`; throws what it printed if it fails. */
  control(...args: string[]): string {
    const { status, stdout, stderr } = this.run('systemctl', ...args)
    if (status !== 0) throw new Error(`systemctl ${args.join(' ')}: ${stdout}${stderr}`)
    return stdout
  }

  /** Properties of a unit. */
  show(unit: string): Readonly<Record<string, string>> {
    const lines = this.control('show', unit).split('\n')
    return Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Their private folders go with them.
    this.run('systemctl', 'stop', '*.service')
    await this.#unshare.kill()
    const isGone = (path: string): boolean => {
      try {
        rmdirSync(path)
        return true
      } catch {
        return !existsSync(path)
      }
    }
    const made = cgroupsNow().filter((path) => !this.#cgroupsBefore.includes(path))
    // As long as a process is ending in it, a group stays.
    await until(() => made.sort().reverse().every(isGone), 10_000, `${made.join(', ')} to go`)
  }

  get #inside(): string[] {
    const { pid } = this.#unshare
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
    return ['--target', children[0] ?? '', '--mount', '--pid', '--']
  }

  /** Runs a program beside it. */
  run(...command: string[]): { status: number | null; stdout: string; stderr: string } {
    return spawnSync('nsenter', [...this.#inside, ...command], { encoding: 'utf8' })
  }
}
