/** The self-contained archive and the .deb of this machine's architecture, as `npm run dist` makes them of the package. */
import { execFileSync } from 'node:child_process'
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadCommands } from '../../src/delivery/cli/commands.ts'
import { cleanUp, root, Running, temporaryFolder } from '../support/cli.ts'
import { makeNotes, notesIn } from '../support/notes.ts'

afterAll(() => cleanUp())

const { arch } = process
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly version: string
}
const name = `tsreplicate-${version}-linux-${arch}`

let output: string
let unpacked: string

/** As `npm run dist`, after another `umask`, and with other files for a while. */
async function dist(umask: string): Promise<string> {
  const folder = join(temporaryFolder(), 'archives')
  const script = `umask ${umask}; exec '${process.execPath}' --experimental-strip-types --no-warnings scripts/dist.ts --architecture ${arch} --output '${folder}'`
  const running = new Running('dist', 'sh', ['-c', `cd '${root}'; ${script}`], {
    TMPDIR: temporaryFolder(),
  })
  expect(await running.exit(300_000), running.output).toBe(0)
  return folder
}

const sumsIn = (folder: string): string => readFileSync(join(folder, 'SHA256SUMS'), 'utf8')

/** Runs it with nothing in the environment but this. */
async function tsreplicate(args: readonly string[], env = {}, path = 'bin/tsreplicate') {
  const words = Object.entries(env).map(([key, value]) => `${key}=${String(value)}`)
  const running = new Running('tsreplicate', 'env', ['-i', ...words, join(unpacked, path), ...args])
  expect(await running.exit(), running.output).toBe(0)
  return running.stdout
}

beforeAll(async () => {
  output = await dist('022')
  const folder = temporaryFolder()
  execFileSync('tar', ['-xzf', join(output, `${name}.tar.gz`), '-C', folder])
  unpacked = join(folder, name)
}, 600_000)

test('the same commit makes the same files', async () => {
  expect(sumsIn(await dist('077'))).toBe(sumsIn(output))
}, 600_000)

test('SHA256SUMS is of all files', () => {
  const files = readdirSync(output).filter((file) => file !== 'SHA256SUMS')
  expect(files).toHaveLength(2)
  execFileSync('sha256sum', ['--check', '--strict', '--status', 'SHA256SUMS'], { cwd: output })
  expect(sumsIn(output).trim().split('\n')).toHaveLength(files.length)
})

test.each([
  ['without any environment', {}],
  ['with an empty PATH', { PATH: '' }],
  ['with options for another Node.js', { NODE_OPTIONS: '--no-such-option' }],
])('it runs %s', async (_, env) => {
  expect(await tsreplicate(['version'], env)).toBe(`v${version}\n`)
})

test('it finds its own folder through links', async () => {
  const folder = temporaryFolder()
  symlinkSync(unpacked, join(folder, 'current'))
  symlinkSync('current/bin/tsreplicate', join(folder, 'first'))
  symlinkSync(join(folder, 'first'), join(folder, 'second'))
  for (const path of ['current/bin/tsreplicate', 'first', 'second']) {
    const running = new Running(path, 'env', ['-i', join(folder, path), 'version'])
    expect(await running.exit(), running.output).toBe(0)
  }
  const inPath = new Running('sh', '/bin/sh', ['-c', `cd '${folder}' && second version`], {
    PATH: '.:/usr/bin:/bin',
  })
  expect(await inPath.exit(), inPath.output).toBe(0)
})

test('a first backup and restore', async () => {
  const folder = temporaryFolder()
  const [db, restored] = [join(folder, 'app.db'), join(folder, 'restored.db')]
  const replica = `file://${join(folder, 'replica')}`
  makeNotes(db, 'kept')
  await tsreplicate(['replicate', '-exec', '/bin/true', db, replica])
  await tsreplicate(['restore', '-o', restored, replica])
  expect(notesIn(restored)).toEqual(['kept'])
})

test('init writes a configuration, and the unit', async () => {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const [config, unit] = [join(folder, 'tsreplicate.yml'), join(folder, 'unit')]
  makeNotes(db)
  const replica = `file://${join(folder, 'replica')}`
  await tsreplicate(['init', '-o', config, '-unit', unit, db, replica])
  expect(readFileSync(unit, 'utf8')).toContain(`replicate -config ${config}\n`)
})

test('the program that it starts has the options for Node.js that it was given itself', async () => {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  makeNotes(db)
  const words = ['replicate', '-exec', '/usr/bin/env', db, `file://${join(folder, 'replica')}`]
  const printed = await tsreplicate(words, { NODE_OPTIONS: '--no-such-option' })
  expect(printed).toMatch(/^NODE_OPTIONS=--no-such-option$/m)
  expect(printed).not.toContain('TSREPLICATE_NODE_OPTIONS')
})

test('it has the addons of one platform, and no other', () => {
  const modules = join(unpacked, 'lib/tsreplicate/node_modules')
  const addons = readdirSync(modules, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.node'))
    .sort()
  expect(addons).toEqual([
    `@antoniomuso/lz4-napi-linux-${arch}-gnu/lz4-napi.linux-${arch}-gnu.node`,
    `better-sqlite3/prebuilds/linux-${arch}.node`,
  ])
})

test('it has a man page of each command, completions, a unit, documents and licences', async () => {
  const commands = await loadCommands()
  const pages = commands.map((command) => `share/man/man1/tsreplicate-${command.name}.1`)
  for (const path of [
    ...pages,
    'share/man/man1/tsreplicate.1',
    'share/bash-completion/completions/tsreplicate',
    'share/zsh/vendor-completions/_tsreplicate',
    'share/fish/vendor_completions.d/tsreplicate.fish',
    'lib/systemd/system/tsreplicate.service',
    'etc/tsreplicate.yml',
    'share/doc/tsreplicate/README.md',
    'share/doc/tsreplicate/config/tsreplicate.yml',
    'share/doc/tsreplicate/LICENSE',
    'share/doc/tsreplicate/NODE-LICENSE',
    'share/doc/tsreplicate/THIRD-PARTY-NOTICES.md',
  ]) {
    expect(existsSync(join(unpacked, path)), path).toBe(true)
  }
  const unit = readFileSync(join(unpacked, 'lib/systemd/system/tsreplicate.service'), 'utf8')
  expect(unit).toContain('Documentation=man:tsreplicate(1)\n')
})

describe('the .deb', () => {
  let members: string
  const file = (path: string): string => join(members, path)

  beforeAll(() => {
    members = temporaryFolder()
    const deb = readdirSync(output).find((each) => each.endsWith('.deb'))
    // An `ar` archive: a head of 60 bytes before each member.
    const bytes = readFileSync(join(output, deb ?? ''))
    for (let at = 8; at < bytes.length;) {
      const head = bytes.toString('latin1', at, at + 60)
      const member = bytes.subarray(at + 60, at + 60 + Number(head.slice(48, 58)))
      const tarball = head.slice(0, 16).trim()
      at += 60 + member.length + (member.length % 2)
      if (!tarball.endsWith('.tar.gz')) continue
      const folder = file(tarball.replace('.tar.gz', ''))
      mkdirSync(folder)
      execFileSync('tar', ['-xz', '-C', folder], { input: member })
    }
  })

  test('installs the files of the archive below /usr, and a configuration that is its own', () => {
    const list = (folder: string): string[] =>
      readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()
    const added = ['share/doc/tsreplicate/copyright']
    const archive = list(unpacked).filter((path) => !/^etc(\/|$)/.test(path))
    expect(list(file('data/usr'))).toEqual([...archive, ...added].sort())
    expect(readdirSync(file('data')).sort()).toEqual(['etc', 'usr'])
    expect(readFileSync(file('control/conffiles'), 'utf8')).toBe('/etc/tsreplicate.yml\n')
    expect(statSync(file('data/etc/tsreplicate.yml')).mode & 0o777).toBe(0o640)
  })

  test('says what it is, and its sums are right', () => {
    const control = readFileSync(file('control/control'), 'utf8')
    expect(control).toContain(`Package: tsreplicate\nVersion: ${version}\n`)
    expect(control).toContain(`Architecture: ${arch === 'x64' ? 'amd64' : arch}\n`)
    execFileSync('md5sum', ['--check', '--strict', '--status', file('control/md5sums')], {
      cwd: file('data'),
    })
    for (const script of ['postinst', 'prerm', 'postrm']) {
      accessSync(file(`control/${script}`), constants.X_OK)
    }
  })
})
