/**
 * `npm run bundle`: makes the folder `package`, which is what is published: the program and the packages that it needs in
 * few files, each vendor's in files of its own that are loaded when there is a replica of that kind. What npm installs
 * beside it are the addons, which cannot be bundled. Files that others import or start have the names that they have in
 * `dist`, so that bundled and unbundled are used alike.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type OutputChunk, type Plugin, rolldown } from 'rolldown'
import ts from 'typescript'
import type * as packageFiles from '../src/compose/package-file.ts'
import type * as commandList from '../src/delivery/cli/commands.ts'
import type * as commandText from '../src/delivery/cli/command-text.ts'
import type * as exits from '../src/delivery/exit-codes.ts'
import { licences } from './licences.ts'
import { completions } from './release/completions.ts'
import { manualPages, type TextFile } from './release/manual.ts'

const built = resolve('dist')
const target = resolve('package')
/** Native addons bring a file for each platform. */
const addons = ['better-sqlite3', 'lz4-napi']
/** What a vendor's package imports for what we don't ask of it, and does not bring: a checkout is without it, too. */
const absent = 'apache-arrow'
/** Entries that the code does not name by an URL beside it. */
const entries = [
  'index.js',
  'kit/runtime.js',
  'delivery/cli/start.js',
  'delivery/library/start-engine.js',
  'compose/threads/restore-thread.js',
  'compose/threads/check-process.js',
]
/** What is published beside the code. */
const copied = ['bin', 'config', 'systemd', 'docs', 'README.md', 'LICENSE']
/** Of package.json, what is for those who use the package; its dependencies are those that cannot be bundled. */
const kept = [
  ...['name', 'version', 'description', 'keywords', 'homepage', 'bugs', 'repository', 'author'],
  ...['license', 'type', 'bin', 'exports', 'engines'],
]

/** Threads and processes that the code starts by the URL of a file beside it become entries. */
const startedByUrl: Plugin = {
  name: 'started-by-url',
  load(id) {
    if (!id.startsWith(built)) return undefined
    const urls = /new URL\('(\.[^']+\.js)', import\.meta\.url\)/g
    const code = readFileSync(id, 'utf8').replaceAll(urls, (_, path: string) => {
      const entry = resolve(dirname(id), path)
      const fileName = relative(built, entry)
      const reference = this.emitFile({ type: 'chunk', id: entry, fileName })
      return `new URL(import.meta.ROLLUP_FILE_URL_${reference})`
    })
    return { code, map: readFileSync(`${id}.map`, 'utf8') }
  },
}

/** Whoever bundles the package would be asked for what is absent. */
const withoutAbsent: Plugin = {
  name: 'without-absent',
  resolveId: (id) => (id === absent ? `\0${absent}` : undefined),
  load: (id) => (id === `\0${absent}` ? `throw new Error('${absent} is not there')` : undefined),
}

const loadAddon: keyof typeof packageFiles = 'loadAddon'

/**
 * An addon is loaded from where the package is installed, and by a call that no bundler of an application follows: what it took
 * in could not be loaded there.
 */
const addonsWhereInstalled: Plugin = {
  name: 'addons-where-installed',
  resolveId: (id) => (addons.includes(id) ? `\0${id}` : undefined),
  async load(id) {
    const name = id.slice(1)
    if (!id.startsWith('\0') || !addons.includes(name)) return undefined
    const { default: addon } = (await import(name)) as { readonly default: object }
    const names = Object.keys(addon).filter(
      (each) => /^[a-z]\w*$/i.test(each) && each !== 'default',
    )
    return `import { ${loadAddon} } from ${JSON.stringify(join(built, 'compose/package-file.js'))}
      const addon = ${loadAddon}(${JSON.stringify(name)})
      export default addon
      export const { ${names.join(', ')} } = addon`
  },
}

/** Writes the code, and returns the folders of the packages that are in it. */
async function writeCode(): Promise<Set<string>> {
  await using bundle = await rolldown({
    input: Object.fromEntries(
      entries.map((path) => [path.replace(/\.js$/, ''), join(built, path)]),
    ),
    platform: 'node',
    // Paths are in the files: they are those within the project, wherever node_modules lies.
    resolve: { symlinks: false },
    plugins: [startedByUrl, withoutAbsent, addonsWhereInstalled],
    onLog(level, { message }) {
      throw new Error(`${level} of the bundler: ${message}`)
    },
  })
  const { output } = await bundle.write({
    dir: join(target, 'dist'),
    format: 'es',
    sourcemap: true,
    // V8 keeps the source of what runs, twice as large where a character is not Latin-1. Names stay, for stack traces.
    comments: false,
    minify: {
      compress: false,
      mangle: false,
      codegen: { removeWhitespace: true, asciiOnly: true },
    },
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name]-[hash].js',
  })
  const chunks = output.filter((file) => file.type === 'chunk')
  for (const chunk of chunks) {
    withoutForeignSources(chunk)
    requireAnywhere(chunk)
  }
  const modules = chunks.flatMap(({ moduleIds }) => moduleIds)
  const folderOf = /node_modules\/(?:.*\/node_modules\/)?(?:@[^/]+\/)?[^/]+/
  return new Set(modules.flatMap((id) => folderOf.exec(relative('.', id))?.[0] ?? []))
}

/** An application's bundle in the format of CommonJS knows no URL of its own, and what is required so is of Node. */
function requireAnywhere({ fileName }: OutputChunk): void {
  const file = join(target, 'dist', fileName)
  const code = readFileSync(file, 'utf8')
  const known = 'createRequire(import.meta.url??process.argv[1]??process.execPath)'
  writeFileSync(file, code.replaceAll('createRequire(import.meta.url)', known))
}

/** Our sources are in the maps; those of packages would take more room than all else. */
function withoutForeignSources({ fileName, map }: OutputChunk): void {
  if (map === null) return
  const isOurs = (source: string): boolean => !source.includes('node_modules/')
  const sourcesContent = map.sources.map((source, i) =>
    isOurs(source) ? (map.sourcesContent[i] ?? null) : null,
  )
  writeFileSync(
    join(target, 'dist', `${fileName}.map`),
    JSON.stringify({ ...map, version: 3, sourcesContent }),
  )
}

/** The declarations that `file` leads to. They may name nothing that is not installed. */
function copyTypes(file: string, done = new Set<string>()): void {
  if (done.has(file)) return
  done.add(file)
  const text = readFileSync(join(built, file), 'utf8')
  mkdirSync(dirname(join(target, 'dist', file)), { recursive: true })
  writeFileSync(join(target, 'dist', file), text)
  for (const { fileName } of ts.preProcessFile(text).importedFiles) {
    if (fileName.startsWith('.'))
      copyTypes(join(dirname(file), fileName.replace(/\.js$/, '.d.ts')), done)
    else if (!fileName.startsWith('node:'))
      throw new Error(`the type declarations of the library need ${fileName}: dist/${file}`)
  }
}

/** Man pages, whose paths it returns, and completions for shells. */
async function writeTexts(version: string): Promise<string[]> {
  const load = async (path: string): Promise<unknown> =>
    import(pathToFileURL(join(built, 'delivery', path)).href)
  const { loadCommands } = (await load('cli/commands.js')) as typeof commandList
  const { exitCodes } = (await load('exit-codes.js')) as typeof exits
  const text = (await load('cli/command-text.js')) as typeof commandText
  const program = { version, commands: await loadCommands(), exitCodes, text }
  const write = (folder: string, files: readonly TextFile[]): void => {
    mkdirSync(join(target, folder))
    for (const { name, text: content } of files) writeFileSync(join(target, folder, name), content)
  }
  const pages = manualPages(program)
  write('man', pages)
  write('completions', Object.values(completions(program)))
  return pages.map(({ name }) => `man/${name}`)
}

async function writeManifest(): Promise<void> {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Record<string, unknown> & {
    readonly version: string
    readonly dependencies: Readonly<Record<string, string>>
  }
  const published = {
    ...Object.fromEntries(kept.map((key) => [key, manifest[key]])),
    man: await writeTexts(manifest.version),
    dependencies: Object.fromEntries(addons.map((name) => [name, manifest.dependencies[name]])),
  }
  writeFileSync(join(target, 'package.json'), `${JSON.stringify(published, undefined, 2)}\n`)
}

rmSync(target, { recursive: true, force: true })
const packages = await writeCode()
copyTypes('index.d.ts')
copyTypes('delivery/library/start-engine.d.ts')
await writeManifest()
writeFileSync(
  join(target, 'THIRD-PARTY-NOTICES.md'),
  licences(['Packages that are part of the files in `dist`, and their licences.'], (folder) =>
    packages.has(folder),
  ),
)
for (const name of copied) cpSync(name, join(target, name), { recursive: true })
