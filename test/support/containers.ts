/**
 * Containers without an engine: a root folder of their own with the system's programs, a Node.js and the program, and what is
 * mounted into it. Processes, network and name are their own, too. As with an engine, what runs there is process 1.
 */
import { existsSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageUnderTest, Running, temporaryFolder } from './cli.ts'
import { Elsewhere, whyNotElsewhere } from './elsewhere.ts'
import { sayAtTheEnd } from './last-lines.ts'

/** Why there can be none on this machine; undefined where there can. */
export const whyNoContainers =
  process.getuid?.() === 0 ? whyNotElsewhere : 'they take root, for users and folders of their own'
if (whyNoContainers !== undefined) {
  sayAtTheEnd(`examples for containers were not run: ${whyNoContainers}`)
}

export interface ContainerOptions {
  readonly command: readonly string[]
  /** `uid:gid` */
  readonly user: string
  readonly env: Readonly<Record<string, string>>
  /** `OUTSIDE:INSIDE`, files or folders. */
  readonly volumes: readonly string[]
  readonly folder?: string
}

const path = 'PATH=/opt/bin:/usr/local/bin:/usr/bin:/bin'
const installed = ['bin', 'dist', 'systemd', 'package.json']

const script = `
set -e
root=$1 user=$2 volumes=$3
shift 3
mount -t tmpfs tmpfs $root
mkdir $root/usr $root/proc $root/dev $root/etc $root/tmp
chmod 1777 $root/tmp
for name in bin sbin lib lib64; do
  if [ -L /$name ]; then cp -P /$name $root/$name; elif [ -d /$name ]; then
    mkdir $root/$name && mount --bind /$name $root/$name
  fi
done
mount --bind /usr $root/usr
mount --rbind /dev $root/dev
while IFS=: read -r from to; do
  mkdir -p $(dirname $root$to)
  if [ -d $from ]; then mkdir -p $root$to; else touch $root$to; fi
  mount --bind $from $root$to
done < $volumes
mount -t proc proc $root/proc
ip link set lo up
exec chroot --userspec=$user --groups= $root "$@"
`

export class Container extends Elsewhere {
  readonly #options: ContainerOptions

  constructor(name: string, options: ContainerOptions) {
    const { command, user, env, folder = '/' } = options
    const base = temporaryFolder()
    const bare = join(base, 'root')
    const bin = join(base, 'bin')
    const list = join(base, 'volumes')
    mkdirSync(bare)
    mkdirSync(bin)
    writeFileSync(join(bin, 'node'), '')
    const start = '#!/bin/sh\nexec node /opt/tsreplicate/bin/tsreplicate.js "$@"\n'
    writeFileSync(join(bin, 'tsreplicate'), start, { mode: 0o755 })
    const mounts = [
      `${bin}:/opt/bin`,
      `${process.execPath}:/opt/bin/node`,
      ...installed.map((each) => `${join(packageUnderTest, each)}:/opt/tsreplicate/${each}`),
      `${modulesFolder()}:/opt/tsreplicate/node_modules`,
      ...options.volumes,
    ]
    writeFileSync(list, mounts.map((each) => `${each}\n`).join(''))
    const variables = Object.entries(env).map(([key, value]) => `${key}=${value}`)
    super(name, 'unshare', [
      ...['--mount', '--pid', '--uts', '--net', '--fork', '--kill-child'],
      ...['sh', '-c', script, 'sh', bare, user, list],
      ...['env', '-i', '-C', folder, path, ...variables, ...command],
    ])
    this.#options = options
  }

  /** Runs a command in it, as a health check does. */
  async exec(...command: readonly string[]): Promise<{ code: number; output: string }> {
    const [uid = '', gid = ''] = this.#options.user.split(':')
    const target = String(this.innerPid)
    const running = new Running(`${this.name}: ${command.join(' ')}`, 'nsenter', [
      ...['--target', target, '--mount', '--pid', '--uts', '--net', '--root', '--wd'],
      ...['--setuid', uid, '--setgid', gid, 'env', '-i', path, ...command],
    ])
    const code = await running.exit()
    return { code, output: running.output }
  }
}

/** Of the package: its own, or those that it was installed beside. */
function modulesFolder(): string {
  const own = join(packageUnderTest, 'node_modules')
  return existsSync(own) ? realpathSync(own) : join(packageUnderTest, '..')
}
