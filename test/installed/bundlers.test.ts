/** Applications that others bundle: they find the engine, and restore. `npm run pack:check` does the same with rolldown. */
import { renameSync } from 'node:fs'
import { afterEach, expect, test } from 'vitest'
import { bundledApplication } from '../support/bundled-application.ts'
import { cleanUp } from '../support/cli.ts'
import { InstalledProject } from '../support/installed-project.ts'
import { makeNotes, notesIn } from '../support/notes.ts'

afterEach(() => cleanUp())

/** Replicates and restores as the bundle does, in a folder of its own. */
async function runBundle(project: InstalledProject, file: string): Promise<void> {
  const [db, output] = [project.path(`${file}.db`), project.path(`${file}-restored.db`)]
  makeNotes(db, 'kept')
  expect(await project.run('node', file, db, `file://${project.replica}-${file}`, output)).toBe(
    '[]\n',
  )
  expect(notesIn(output)).toEqual(['kept'])
}

test('esbuild, as ESM and CommonJS: the library may be external, or within the bundle', async () => {
  const project = await InstalledProject.withOnly({ esbuild: '0.28.2' })
  project.write('application.js', bundledApplication)
  const ways = {
    external: ['--external:tsreplicate'],
    'within-it': [],
  }
  const bundle = async (format: string, file: string, ...flags: readonly string[]) => {
    const always = ['--bundle', '--platform=node', `--format=${format}`, '--log-level=warning']
    const running = project.start('esbuild', [
      'application.js',
      `--outfile=${file}`,
      ...always,
      ...flags,
    ])
    expect(await running.exit(), running.output).toBe(0)
    return running.output
  }
  for (const [format, ending] of [
    ['esm', 'mjs'],
    ['cjs', 'cjs'],
  ] as const) {
    for (const [way, flags] of Object.entries(ways)) {
      const file = `${way}.${ending}`
      await bundle(format, file, ...flags)
      await runBundle(project, file)
    }
  }

  // Where the library is in the bundle alone, there is no engine.
  renameSync(project.path('node_modules/tsreplicate'), project.path('node_modules/gone'))
  for (const file of ['within-it.mjs', 'within-it.cjs']) {
    const printed = await project.run(
      'node',
      file,
      project.path('a.db'),
      `file://${project.replica}`,
    )
    expect(JSON.parse(printed)).toMatchObject({
      code: 'CONFIG',
      hint: expect.stringContaining('mark tsreplicate as external') as string,
    })
  }
})

test('webpack, as ESM and CommonJS: the library is external', async () => {
  const project = await InstalledProject.withOnly({ webpack: '5.113.0' })
  project.write('application.js', bundledApplication)
  project.write(
    'bundle.cjs',
    `const configuration = (ending, module) => ({
      mode: 'production', target: 'node', entry: './application.js',
      externals: { tsreplicate: 'commonjs tsreplicate' },
      experiments: { outputModule: module },
      output: { path: __dirname, filename: 'webpack.' + ending, module },
    })
    require('webpack')([configuration('mjs', true), configuration('cjs', false)], (error, stats) => {
      if (error || stats.hasErrors()) throw error ?? new Error(stats.toString())
    })`,
  )
  await project.run('node', 'bundle.cjs')
  await runBundle(project, 'webpack.mjs')
  await runBundle(project, 'webpack.cjs')
})
