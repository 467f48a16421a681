/** The package as whoever installs it has it. */
import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type InputOptions, rolldown } from 'rolldown'
import { afterEach, describe, expect, test } from 'vitest'
import { bundledApplication } from '../support/bundled-application.ts'
import { cleanUp, root, Running, temporaryFolder, until } from '../support/cli.ts'
import { installation } from '../support/installed.ts'
import { makeNotes, notesIn } from '../support/notes.ts'

afterEach(cleanUp)

const modules = join(installation, 'node_modules')
const command = join(modules, '.bin/tsreplicate')

/** Packages whose code a daemon runs that replicates to a folder: what reads configurations, what logs, and a checksum. */
const loadedByDaemon = [
  ...['@pinojs', 'atomic-sleep', 'commander', 'on-exit-leak-free', 'pino', 'pino-std-serializers'],
  ...['quick-format-unescaped', 'safe-stable-stringify', 'sonic-boom', 'thread-stream'],
  ...['xxhash-wasm', 'yaml'],
]

interface Lock {
  readonly packages: Readonly<Record<string, { readonly hasInstallScript?: boolean }>>
}

interface SourceMap {
  readonly sources: readonly string[]
}

const run = async (program: string, args: readonly string[], env = {}): Promise<string> => {
  const running = new Running(program, process.execPath, args, env)
  expect(await running.exit(), running.output).toBe(0)
  return running.stdout
}

/** What a command loads: files, the sources that they are made of, and modules of Node. */
async function loadedBy(
  ...args: string[]
): Promise<{ files: string[]; sources: string[]; builtIn: string[] }> {
  const list = join(temporaryFolder(), 'loaded')
  const preload = ['--import', join(root, 'test/support/loaded-modules.mjs')]
  await run(args.join(' '), [...preload, command, ...args], { LOADED_MODULES: list })
  const urls = readFileSync(list, 'utf8').trim().split('\n')
  const files = urls.filter((url) => url.startsWith('file:')).map((url) => fileURLToPath(url))
  const sources = files.flatMap((path) => {
    if (!existsSync(`${path}.map`)) return []
    return (JSON.parse(readFileSync(`${path}.map`, 'utf8')) as SourceMap).sources
  })
  return { files, sources, builtIn: urls.filter((url) => url.startsWith('node:')) }
}

test('brings at most five packages and 45 MB, and none that runs a script', () => {
  const lock = JSON.parse(readFileSync(join(modules, '.package-lock.json'), 'utf8')) as Lock
  const brought = Object.entries(lock.packages)
  expect(brought.length).toBeLessThanOrEqual(5)
  expect(brought.filter(([, { hasInstallScript }]) => hasInstallScript === true)).toEqual([])
  const files = readdirSync(modules, { recursive: true, encoding: 'utf8' })
  const blocks = files.map((name) => statSync(join(modules, name)).blocks)
  const megabytes = blocks.reduce((sum, each) => sum + each * 512, 0) / 1024 ** 2
  expect(megabytes).toBeLessThan(45)
})

/** The files that a package exports. */
function exported(folder: string): readonly string[] {
  const { exports } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
    readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>
  }
  const files = Object.values(exports).flatMap((each) =>
    typeof each === 'string' ? each : Object.values(each),
  )
  expect(files).toContain('./dist/delivery/library/start-engine.js')
  return files
}

test('has all that package.json, its exports and the documents name', () => {
  const folder = join(modules, 'tsreplicate')
  for (const name of [
    'README.md',
    'LICENSE',
    'THIRD-PARTY-NOTICES.md',
    'docs/guide.md',
    'config/tsreplicate.yml',
    'systemd/tsreplicate.service',
    ...exported(folder),
  ]) {
    expect(existsSync(join(folder, name)), name).toBe(true)
  }
  const { sources } = JSON.parse(
    readFileSync(join(folder, 'dist/index.js.map'), 'utf8'),
  ) as SourceMap
  expect(sources).toContain('../../src/delivery/library/replicate.ts')
})

test('init runs from the tarball by npx, and finds the databases of the folder', async () => {
  const folder = temporaryFolder()
  makeNotes(join(folder, 'app.db'), 'kept')
  const tarball = readdirSync(installation).find((name) => name.endsWith('.tgz')) ?? ''
  copyFileSync(join(installation, tarball), join(folder, tarball))
  // What npx installs goes with the test, for it would be taken for a newer tarball of the same name. What is fetched stays.
  const cache = temporaryFolder()
  const fetched = execFileSync('npm', ['config', 'get', 'cache'], { encoding: 'utf8' }).trim()
  symlinkSync(join(fetched, '_cacache'), join(cache, '_cacache'))
  const npx = ['npx', '--yes', '--prefer-offline', `./${tarball}`, 'init', '-list']
  const running = new Running('npx', 'env', ['-C', folder, ...npx], {
    npm_config_cache: cache,
    npm_config_update_notifier: 'false',
  })
  expect(await running.exit(), running.output).toBe(0)
  expect(running.stdout).toContain(join(folder, 'app.db'))
})

test('a restore from a folder loads few files, and nothing of a vendor', async () => {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  makeNotes(db, 'kept')
  const replica = `file://${join(folder, 'replica')}`
  await run('replicate', [command, 'replicate', '-exec', 'true', db, replica])
  const output = join(folder, 'restored.db')
  const { files, sources } = await loadedBy('restore', '-o', output, replica)
  expect(notesIn(output)).toEqual(['kept'])
  expect(sources.filter((source) => source.includes('src/compose/'))).not.toEqual([])
  expect(sources.filter((source) => /@aws-sdk|@google-cloud|@azure/.test(source))).toEqual([])
  // Each thread loads its own, and there are as many threads as cores.
  expect(new Set(files).size).toBeLessThan(80)
})

test('the version is printed with what that takes, and nothing else is loaded', async () => {
  const { sources, builtIn } = await loadedBy('version')
  const ours = sources.flatMap((source) => /^(?:\.\.\/)*src\/(.*)$/.exec(source)?.[1] ?? [])
  expect(ours.sort()).toEqual([
    'compose/lifetime.ts',
    'compose/package-file.ts',
    'delivery/cli/command.ts',
    'delivery/cli/commands.ts',
    'delivery/cli/commands/version.ts',
    'delivery/cli/favour-memory.ts',
    'delivery/cli/flags.ts',
    'delivery/cli/go-flags.ts',
    'delivery/cli/init-process.ts',
    'delivery/cli/main.ts',
    'delivery/cli/may-execute.ts',
    'delivery/cli/output.ts',
    'delivery/cli/start.ts',
    'delivery/cli/version.ts',
    'delivery/daemon/early-signals.ts',
    'delivery/exit-codes.ts',
    'delivery/forced-exit.ts',
    'domain/errors.ts',
    'kit/abort.ts',
    'kit/error-text.ts',
    'kit/nearest-name.ts',
    'kit/printable.ts',
    'kit/runtime.ts',
  ])
  const packages = sources.map((source) => /node_modules\/([^/]+)/.exec(source)?.[1])
  expect(new Set(packages.filter((name) => name !== undefined))).toEqual(new Set(['commander']))
  expect(builtIn).toContain('node:child_process')
  // Each of these takes as long as all the rest.
  expect(builtIn).not.toContain('node:http')
  expect(builtIn).not.toContain('node:crypto')
})

test('a daemon of one database loads what it needs, and at rest it is small', async () => {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  makeNotes(db, 'kept')
  const config = join(folder, 'c.yml')
  const dbs = [{ path: db, replicas: [{ path: join(folder, 'replica') }] }]
  writeFileSync(config, JSON.stringify({ logging: { level: 'debug' }, dbs }))
  const { sources, builtIn } = await loadedBy('replicate', '-config', config, '-exec', 'true')
  const packages = sources.flatMap((source) => /node_modules\/([^/]+)/.exec(source)?.[1] ?? [])
  expect([...new Set(packages)].sort()).toEqual(loadedByDaemon)
  // An import of it takes 13 MB.
  expect(builtIn).not.toContain('node:http')

  const daemon = new Running('tsreplicate', process.execPath, [
    ...[command, 'replicate', '-config', config],
  ])
  await daemon.waitFor(/msg="at rest"/)
  const held = (): { threads: number; ofCode: number; ofDatabase: number; all: number } => {
    const tasks = readdirSync(`/proc/${daemon.pid}/task`)
    const names = tasks.map((task) => readFileSync(`/proc/${daemon.pid}/task/${task}/comm`, 'utf8'))
    const open = readdirSync(`/proc/${daemon.pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${daemon.pid}/fd/${fd}`)
      } catch {
        return ''
      }
    })
    return {
      threads: names.length,
      ofCode: names.filter((name) => name.trim() === 'WorkerThread').length,
      ofDatabase: open.filter((path) => path.startsWith(db)).length,
      all: open.length,
    }
  }
  // Threads without work end after five seconds.
  await until(() => held().ofCode === 1, 30_000, 'all threads but one to end')
  const { threads, ofDatabase, all } = held()
  expect(threads).toBeLessThanOrEqual(9)
  expect(ofDatabase).toBeLessThanOrEqual(5)
  expect(all).toBeLessThanOrEqual(40)
  const status = readFileSync(`/proc/${daemon.pid}/status`, 'utf8')
  const residentMib = Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
  expect(residentMib).toBeLessThan(90)
  expect(await daemon.stop()).toBe(0)
})

/** What `tsreplicate` is to a bundler. */
const bundled: Readonly<Record<string, InputOptions>> = {
  'with the library': {},
  // As esbuild does with CommonJS.
  'with the library, which knows no URL of its own then': {
    transform: { define: { 'import.meta.url': 'undefined' } },
  },
  'to which the library is external': { external: ['tsreplicate'] },
}

/** Bundles an application, and returns the file that is to be started. */
async function bundleApplication(
  format: 'es' | 'cjs',
  options: InputOptions = {},
): Promise<string> {
  const folder = mkdtempSync(join(installation, `application-${format}-`))
  const source = join(folder, 'application.js')
  writeFileSync(source, bundledApplication)
  await using bundle = await rolldown({
    ...options,
    input: source,
    platform: 'node',
    onLog: () => undefined,
  })
  const name = format === 'es' ? '[name].mjs' : '[name].cjs'
  await bundle.write({ dir: folder, format, entryFileNames: name, chunkFileNames: name })
  return join(folder, name.replace('[name]', 'application'))
}

describe.each(['es', 'cjs'] as const)('an application that is bundled as %s', (format) => {
  test.each(Object.entries(bundled))(
    '%s: finds the engine, and restores',
    async (_how, options) => {
      const file = await bundleApplication(format, options)
      const scene = temporaryFolder()
      const [db, output] = [join(scene, 'app.db'), join(scene, 'restored.db')]
      makeNotes(db, 'kept')
      const printed = await run(file, [file, db, `file://${join(scene, 'replica')}`, output])
      expect(printed).toBe('[]\n')
      expect(notesIn(output)).toEqual(['kept'])
    },
  )

  test('says what is to be done where the package is not installed', async () => {
    const file = await bundleApplication(format)
    const elsewhere = temporaryFolder()
    for (const name of readdirSync(dirname(file))) {
      copyFileSync(join(dirname(file), name), join(elsewhere, name))
    }
    const application = join(elsewhere, basename(file))
    const db = join(elsewhere, 'app.db')
    const args = [process.execPath, application, db, `file://${elsewhere}/replica`]
    const running = new Running('application', 'env', ['-C', elsewhere, ...args])
    expect(await running.exit(), running.output).toBe(0)
    expect(JSON.parse(running.stdout)).toEqual({
      code: 'CONFIG',
      message: expect.stringContaining('the package tsreplicate is not found from ') as string,
      hint: expect.stringMatching(
        /mark tsreplicate as external .*--external:tsreplicate.*serverExternalPackages/,
      ) as string,
    })
  })
})
