/** Machines as they come from Debian, for what is installed on them: a folder with its files, and commands that have it as root. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Running, temporaryFolder } from './cli.ts'

const cache = join(homedir(), '.cache/tsreplicate-roots')
/** What a machine has besides what every Debian has; no Node.js, and no compiler. */
const packages = 'systemd,dbus'
const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Why there can be none here; undefined: it can be tried. */
export const lackOfRoots = ((): string | undefined => {
  if (process.getuid?.() !== 0) return 'that takes root'
  if (spawnSync('debootstrap', ['--version']).status !== 0) return 'debootstrap is not installed'
  const namespaces = ['--fork', '--pid', '--mount', 'true']
  return spawnSync('unshare', namespaces).status === 0 ? undefined : 'namespaces are not allowed'
})()

/** Made once for each suite; `~/.cache/tsreplicate-roots` may be removed. */
export function baseOf(suite: string): string {
  const base = join(cache, suite)
  if (existsSync(base)) return base
  const unfinished = `${base}.unfinished`
  rmSync(unfinished, { recursive: true, force: true })
  mkdirSync(cache, { recursive: true })
  execFileSync('debootstrap', ['--variant=minbase', `--include=${packages}`, suite, unfinished])
  renameSync(unfinished, base)
  return base
}

/** The first process in the namespaces of what `unshare` runs. */
export function processOneOf({ pid }: Running): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
  return Number(children[0])
}

/** SIGTERM for it, as `unshare` passes no signal on, and the exit code. */
export async function stopProcessOne(unshare: Running): Promise<number> {
  process.kill(processOneOf(unshare), 'SIGTERM')
  return unshare.exit()
}

export class CleanRoot {
  readonly folder: string

  constructor(suite: string) {
    this.folder = join(temporaryFolder(), suite)
    execFileSync('cp', ['--archive', baseOf(suite), this.folder])
  }

  /** A path on it, as this machine sees it. */
  at(place: string): string {
    return join(this.folder, place)
  }

  /** Starts a shell with this script, in the home folder of root. What it leaves running is killed at its end. */
  start(script: string): Running {
    const inside = `
      mount -t proc proc '${this.at('proc')}'
      mount --rbind /dev '${this.at('dev')}'
      exec chroot '${this.folder}' env -i PATH=${path} HOME=/root sh -c 'cd; eval "$0"' "$0"`
    const namespaces = ['--mount', '--pid', '--fork', '--kill-child']
    return new Running('root', 'unshare', [...namespaces, 'sh', '-ec', inside, script])
  }

  /** Runs a script to its end, and returns what it printed. Throws if its exit code is not 0. */
  async run(script: string): Promise<string> {
    const running = this.start(script)
    const code = await running.exit(300_000)
    if (code !== 0) throw new Error(`${script}\nended with ${code}:\n${running.output}`)
    return running.stdout
  }

  /** Every file and folder, but for those in `ignored` and what dpkg keeps for itself. */
  paths(...ignored: string[]): string[] {
    const notLooked = ['proc', 'sys', 'dev', 'run', 'var/lib/dpkg', 'var/log', ...ignored]
    const list = (folder: string): string[] =>
      readdirSync(this.at(folder), { withFileTypes: true }).flatMap((entry) => {
        const name = join(folder, entry.name)
        if (notLooked.includes(name)) return []
        return entry.isDirectory() ? [name, ...list(name)] : [name]
      })
    return list('').sort()
  }
}
