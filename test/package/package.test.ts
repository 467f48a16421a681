/** The package as whoever installs it has it. */
import Database from 'better-sqlite3'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, root, Running, temporaryFolder } from '../support/cli.ts'
import { installation } from '../support/installed.ts'

afterEach(cleanUp)

const modules = join(installation, 'node_modules')
const command = join(modules, '.bin/tsreplicate')

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

function makeDatabase(path: string): void {
  const db = new Database(path)
  db.exec("PRAGMA journal_mode = wal; CREATE TABLE note (text); INSERT INTO note VALUES ('kept')")
  db.close()
}

function notesIn(path: string): unknown[] {
  const db = new Database(path, { readonly: true })
  try {
    return db.prepare('SELECT text FROM note').pluck().all()
  } finally {
    db.close()
  }
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

test('has all that package.json, its exports and the documents name', () => {
  const folder = join(modules, 'tsreplicate')
  for (const name of [
    'README.md',
    'LICENSE',
    'THIRD-PARTY-NOTICES.md',
    'docs/guide.md',
    'config/tsreplicate.yml',
    'systemd/tsreplicate.service',
    'dist/index.d.ts',
  ]) {
    expect(existsSync(join(folder, name)), name).toBe(true)
  }
  const { sources } = JSON.parse(
    readFileSync(join(folder, 'dist/index.js.map'), 'utf8'),
  ) as SourceMap
  expect(sources).toContain('../../src/delivery/library/replicate.ts')
})

test('a restore from a folder loads few files, and nothing of a vendor', async () => {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  makeDatabase(db)
  const replica = `file://${join(folder, 'replica')}`
  await run('replicate', [command, 'replicate', '-exec', 'true', db, replica])
  const list = join(folder, 'loaded')
  const output = join(folder, 'restored.db')
  const preload = ['--import', join(root, 'test/support/loaded-modules.mjs')]
  await run('restore', [...preload, command, 'restore', '-o', output, replica], {
    LOADED_MODULES: list,
  })
  expect(notesIn(output)).toEqual(['kept'])
  const loaded = readFileSync(list, 'utf8').trim().split('\n')
  const sources = loaded.flatMap((url) => {
    const path = fileURLToPath(url)
    if (!existsSync(`${path}.map`)) return []
    return (JSON.parse(readFileSync(`${path}.map`, 'utf8')) as SourceMap).sources
  })
  expect(sources.filter((source) => source.includes('src/compose/'))).not.toEqual([])
  expect(sources.filter((source) => /@aws-sdk|@google-cloud|@azure/.test(source))).toEqual([])
  expect(loaded.length).toBeLessThan(80)
})

describe.each(['es', 'cjs'] as const)('an application that is bundled as %s', (format) => {
  test('finds the engine, and restores', async () => {
    const folder = join(installation, `application-${format}`)
    mkdirSync(folder, { recursive: true })
    const source = join(folder, 'application.js')
    writeFileSync(
      source,
      `import { configFromUrls, openReplicaClient, parseReplicaUrl, replicate, restore } from 'tsreplicate'
      async function main([db, url, outputPath]) {
        const replication = await replicate(await configFromUrls(db, [url]))
        console.log(await replication.stop())
        const client = await openReplicaClient(await parseReplicaUrl(url))
        await restore({ sources: [{ name: 'backup', client }], outputPath })
      }
      main(process.argv.slice(2))`,
    )
    await using bundle = await rolldown({
      input: source,
      external: ['better-sqlite3', 'lz4-napi'],
      platform: 'node',
      onLog: () => undefined,
    })
    const name = format === 'es' ? '[name].mjs' : '[name].cjs'
    await bundle.write({ dir: folder, format, entryFileNames: name, chunkFileNames: name })
    const file = join(folder, name.replace('[name]', 'application'))
    const scene = temporaryFolder()
    const [db, output] = [join(scene, 'app.db'), join(scene, 'restored.db')]
    makeDatabase(db)
    await run(file, [file, db, `file://${join(scene, 'replica')}`, output])
    expect(notesIn(output)).toEqual(['kept'])
  })
})
