/** Each way of installation, on clean machines: what the documents say is typed there, and nothing of it remains. */
import Database from 'better-sqlite3'
import { execFileSync } from 'node:child_process'
import {
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import {
  baseOf,
  CleanRoot,
  lackOfMusl,
  lackOfRoots,
  processOneOf,
  stopProcessOne,
} from '../../support/clean-root.ts'
import { cleanUp, root as project, Running, temporaryFolder, until } from '../../support/cli.ts'
import { firstLine, readBlocks } from '../../support/documents.ts'
import { sayAtTheEnd } from '../../support/last-lines.ts'
import { lastAcknowledged, restoreAndVerify, startWriter } from '../../support/ledger.ts'
import { lackOfSystemd, Systemd } from '../../support/systemd.ts'
import { makeNotes, notesIn } from '../../support/notes.ts'

const suites = ['bookworm', 'trixie']
const unit = 'tsreplicate.service'
const archives = join(project, 'archives')
const { version } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as {
  readonly version: string
}
const tarball = `tsreplicate-${version}-linux-x64.tar.gz`
const npmPackage = `tsreplicate-${version}.tgz`
const deb = `tsreplicate_${version}_amd64.deb`
const newVersion = '99.0.0'
const newDeb = `tsreplicate_${newVersion}_amd64.deb`

const lack = ((): string | undefined => {
  if (lackOfRoots !== undefined) return lackOfRoots
  if (process.arch !== 'x64') return `that is for x64, and this is ${process.arch}`
  return existsSync(join(archives, tarball)) ? undefined : 'there are no archives: npm run dist'
})()
if (lack !== undefined) sayAtTheEnd(`no installation was tried: ${lack}`)
else if (lackOfSystemd !== undefined) {
  sayAtTheEnd(`no service of the Debian package was tried: ${lackOfSystemd}`)
}
if (lack === undefined && lackOfMusl !== undefined) {
  sayAtTheEnd(`nothing was installed on a machine with musl: ${lackOfMusl}`)
}
sayAtTheEnd('the archives for arm64 were not run by this suite')

/** What the page says to type, in the block that begins so. */
function typed(page: string, start: string): string {
  const block = readBlocks(page).find((each) => firstLine(each).startsWith(start))
  if (block === undefined) throw new Error(`${page} has no block that begins with ${start}`)
  return block.text
}

/** A machine of a user: a folder with a database, and where the documents put backups. */
function newMachine(suite: string, installed: string): CleanRoot {
  const machine = new CleanRoot(suite)
  for (const folder of ['data', 'backup', 'restored']) mkdirSync(machine.at(folder))
  makeNotes(machine.at('data/app.db'), 'kept')
  copyFileSync(installed, machine.at(`root/${basename(installed)}`))
  return machine
}

const ofTheUser = ['data', 'backup', 'restored', 'root']

/** The first backup and restore of the README, as somebody types it. */
async function followReadme(machine: CleanRoot): Promise<void> {
  const replicating = machine.start(`exec ${typed('README.md', 'tsreplicate replicate')}`)
  await replicating.waitFor(/snapshot written/)
  const moment = new Date().toISOString()
  const db = new Database(machine.at('data/app.db'))
  db.exec("INSERT INTO note VALUES ('late')")
  db.close()
  await replicating.waitFor(/wal segment written/)
  const restore = typed('README.md', 'tsreplicate restore')
  await machine.run(restore.replace(/\d{4}-\d\d-\d\dT[\d:]+Z/, moment))
  expect(notesIn(machine.at('restored/now.db'))).toEqual(['kept', 'late'])
  expect(notesIn(machine.at('restored/before.db'))).toEqual(['kept'])
  expect(await stopProcessOne(replicating), replicating.output).toBe(0)
}

/** The same as a later version. */
function makeNewDeb(): string {
  const folder = temporaryFolder()
  const tree = join(folder, 'tree')
  execFileSync('dpkg-deb', ['--raw-extract', join(archives, deb), tree])
  for (const path of ['DEBIAN/control', 'usr/lib/tsreplicate/package.json']) {
    const text = readFileSync(join(tree, path), 'utf8')
    writeFileSync(join(tree, path), text.replace(version, newVersion))
  }
  rmSync(join(tree, 'DEBIAN/md5sums'))
  const made = join(folder, newDeb)
  execFileSync('dpkg-deb', ['--root-owner-group', '-Zgzip', '-z1', '--build', tree, made])
  return made
}

describe.skipIf(lack !== undefined).each(suites)('on a clean %s', (suite) => {
  afterEach(() => cleanUp())

  test('the archive is installed, used and removed as the documents say', async () => {
    const machine = newMachine(suite, join(archives, tarball))
    await machine.run('! command -v node && ! command -v cc && ! command -v tsreplicate')
    const before = machine.paths(...ofTheUser)
    await machine.run(typed('README.md', 'tar -xzf'))
    expect(await machine.run('tsreplicate version')).toBe(`v${version}\n`)
    await followReadme(machine)
    await machine.run(typed('docs/guide.md', 'rm -r /opt'))
    expect(machine.paths(...ofTheUser)).toEqual(before)
  })

  test('the Debian package is installed, used, removed and purged, with no systemd that runs', async () => {
    const machine = newMachine(suite, join(archives, deb))
    const before = machine.paths(...ofTheUser)
    await machine.run(typed('README.md', 'dpkg -i'))
    expect(await machine.run('tsreplicate version')).toBe(`v${version}\n`)
    await followReadme(machine)
    await machine.run('dpkg --remove tsreplicate')
    expect(machine.paths(...ofTheUser)).toEqual([...before, 'etc/tsreplicate.yml'].sort())
    await machine.run('dpkg --purge tsreplicate')
    expect(machine.paths(...ofTheUser)).toEqual(before)
  })

  describe.skipIf(lackOfSystemd !== undefined)('with systemd', () => {
    let laterDeb: string
    beforeAll(() => {
      laterDeb = makeNewDeb()
    })
    afterAll(() => cleanUp())

    test('a service goes on as the new version after an upgrade, and ends with the package', async () => {
      const machine = newMachine(suite, join(archives, deb))
      const at = (place: string): string => machine.at(place)
      // What systemd makes itself when it starts: folders for sockets of others, and marks of updates.
      const paths = (): string[] =>
        machine.paths(...ofTheUser).filter((path) => !/^tmp\/\.|\/\.updated$/.test(path))
      const before = paths()
      await using systemd = await Systemd.start({ root: machine.folder })
      const property = (name: string): string | undefined => systemd.show(unit)[name]
      const dpkg = (...words: string[]): void => {
        const { status, stdout, stderr } = systemd.run('dpkg', ...words)
        expect(status, stdout + stderr).toBe(0)
      }
      dpkg('-i', `/root/${deb}`)
      expect(property('ActiveState')).toBe('inactive')
      expect(property('UnitFileState')).toBe('disabled')

      const config = 'dbs: [{ path: /data/ledger.db, replicas: [{ path: /backup/ledger }] }]\n'
      writeFileSync(at('etc/tsreplicate.yml'), config)
      const oracle = at('data/oracle')
      const writer = startWriter({ db: at('data/ledger.db'), oracle, rate: 50, seconds: 600 })
      await until(() => existsSync(oracle), 30_000, 'a first row')
      systemd.control('enable', '--now', unit)
      const pid = property('MainPID')

      copyFileSync(laterDeb, at(`root/${newDeb}`))
      dpkg('-i', `/root/${newDeb}`)
      expect(property('ActiveState')).toBe('active')
      expect(property('MainPID')).not.toBe(pid)
      expect(readFileSync(at('etc/tsreplicate.yml'), 'utf8')).toBe(config)
      const isReady = (): boolean => {
        const { status, stdout } = systemd.run('tsreplicate', 'status')
        return status === 0 && stdout.startsWith(`tsreplicate v${newVersion},`)
      }
      await until(isReady, 60_000, 'the new version to be ready')

      await writer.stop()
      dpkg('--remove', 'tsreplicate')
      expect(property('ActiveState')).toBe('inactive')
      const restored = await restoreAndVerify(at('backup/ledger'), at('restored/ledger.db'), oracle)
      expect(restored.n).toBe(lastAcknowledged(oracle))
      expect(readFileSync(at('etc/tsreplicate.yml'), 'utf8')).toBe(config)

      dpkg('--purge', 'tsreplicate')
      expect(paths()).toEqual(before)
      expect(existsSync(at('data/ledger.db'))).toBe(true)
    })
  })
})

describe.skipIf(lack !== undefined || lackOfMusl !== undefined)(
  'on a clean machine with musl',
  () => {
    afterEach(() => cleanUp())

    test('the npm package is installed, used and removed as the documents say', async () => {
      execFileSync('npm', ['run', '--silent', 'pack'], { cwd: project })
      const machine = newMachine('musl', join(project, npmPackage))
      // npm keeps what it has compiled there.
      const ignored = [...ofTheUser, 'tmp/node-compile-cache']
      const before = machine.paths(...ignored)
      const install = typed('docs/guide.md', 'npm install -g').trim()
      const certificates = 'NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt'
      await machine.run(`${certificates} ${install} --ignore-scripts`)
      expect(await machine.run('tsreplicate version')).toBe(`v${version}\n`)
      await followReadme(machine)
      await machine.run('npm uninstall -g tsreplicate')
      expect(machine.paths(...ignored)).toEqual(before)
    })
  },
)

describe.skipIf(lack !== undefined)('the files of the container image', () => {
  afterAll(() => cleanUp())

  test('replicate as process 1 of an unprivileged user, are healthy, and restore', async () => {
    const image = join(temporaryFolder(), 'image')
    const make = join(project, 'packaging/image-root')
    execFileSync(make, [baseOf('trixie'), join(archives, tarball), image])
    for (const folder of ['proc', 'dev']) mkdirSync(join(image, folder))
    makeNotes(join(image, 'data/app.db'), 'kept')
    chownSync(join(image, 'data/app.db'), 65532, 65532)
    const config = 'dbs: [{ path: /data/app.db, replicas: [{ path: /data/backup }] }]\n'
    writeFileSync(join(image, 'etc/tsreplicate.yml'), config)
    const enter = (user: number): string[] => [
      ...['env', '-i', 'PATH=/usr/bin', '/usr/sbin/chroot', `--userspec=${user}:${user}`],
      ...[image, 'tsreplicate'],
    ]
    const mounts = `mount -t proc proc '${image}/proc'; mount --rbind /dev '${image}/dev'`
    const daemon = new Running('image', 'unshare', [
      ...['--mount', '--pid', '--fork', '--kill-child'],
      ...['sh', '-ec', `${mounts}; exec "$@"`, 'sh', ...enter(65532), 'replicate'],
    ])
    await daemon.waitFor(/snapshot written/)
    const run = async (user: number, ...words: string[]): Promise<Running> => {
      const inside = ['--target', String(processOneOf(daemon)), '--mount', '--pid', '--']
      const running = new Running('tsreplicate', 'nsenter', [...inside, ...enter(user), ...words])
      await running.exit()
      return running
    }
    const isHealthy = async (): Promise<boolean> =>
      (await run(65532, 'status')).child.exitCode === 0
    await until(isHealthy, 30_000, 'it to be healthy')
    const asRoot = await run(0, 'restore', '-o', '/data/restored.db', '/data/app.db')
    expect(asRoot.child.exitCode, asRoot.output).toBe(0)
    expect(notesIn(join(image, 'data/restored.db'))).toEqual(['kept'])
    expect(await stopProcessOne(daemon), daemon.output).toBe(0)
  })
})
