/** The applications of `examples` that serve notes: what they answer with 201 is stored, and where they start anew it is there. */
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, until } from '../support/cli.ts'
import { InstalledProject, type Server } from '../support/installed-project.ts'
import { freePort } from '../support/stores/server.ts'

afterEach(() => cleanUp())

/** What is restored of what it has stored at this moment. */
async function restoredNotes(app: InstalledProject, name: string): Promise<readonly string[]> {
  const rows = await app.query(await app.restore(`${name}.db`), 'SELECT text FROM note ORDER BY id')
  return (rows as { readonly text: string }[]).map(({ text }) => text)
}

/** The processes of engines that were started from the folder of an application. */
function enginesOf({ folder }: InstalledProject): readonly string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      return commandLine.includes(
        `${folder}/node_modules/tsreplicate/dist/delivery/library/start-engine.js`,
      )
    } catch {
      return false
    }
  })
}

/** What a probe, Prometheus and a person are told by the handler, where the application has mounted it. */
async function expectHealth(app: InstalledProject, server: Server): Promise<void> {
  const ask = async (path: string) => {
    const answer = await server.get(`/internal${path}`)
    const { status, headers } = answer
    // Frameworks write it in their own ways.
    const type = headers.get('content-type')?.toLowerCase().replaceAll(' ', '')
    return { status, type, body: await answer.text() }
  }
  const isReady = async (): Promise<boolean> => (await ask('/readyz')).status === 200
  await until(isReady, 20_000, () => `readiness: ${server.running.output}`)
  const plain = 'text/plain;charset=utf-8'
  expect(await ask('/readyz')).toEqual({ status: 200, type: plain, body: 'ready\n' })
  expect(await ask('/other')).toMatchObject({ status: 404, type: plain })

  const db = app.path('data/app.db')
  const { body, ...metrics } = await ask('/metrics')
  expect(metrics).toEqual({ status: 200, type: expect.stringMatching(/^text\/plain;/) as string })
  expect(metrics.type?.split(';')).toEqual(expect.arrayContaining(['version=0.0.4']))
  expect(body).toContain(`\nlitestream_db_size{db="${db}"} `)

  const { body: text, ...status } = await ask('/api/status')
  expect(status).toEqual({ status: 200, type: 'application/json;charset=utf-8' })
  expect(JSON.parse(text)).toMatchObject({
    databases: [{ path: db, state: 'replicating', replicas: [{ name: 'file', lagMs: 0 }] }],
  })
}

/** The server starts the engine by itself, before anyone asks it anything. */
async function expectUnaskedEngine(
  app: InstalledProject,
  program: string,
  ...args: readonly string[]
): Promise<void> {
  const server = app.start(program, args, { PORT: String(await freePort()) })
  const isStarted = (): boolean => {
    if (server.ended) throw new Error(`it has ended: ${server.output}`)
    return enginesOf(app).length === 1
  }
  await until(isStarted, 60_000, () => `the engine: ${server.output}`)
  await server.stop()
  await until(() => enginesOf(app).length === 0, 60_000, 'the engine to end')
}

/** Adds notes, each of which is stored when it is answered; stops it, loses the disk, and starts it again. */
async function serveAndLoseDisk(
  app: InstalledProject,
  start: () => Promise<Server>,
  exitCode = 0,
): Promise<void> {
  const first = await start()
  for (const text of ['first', 'second']) {
    const { status } = await first.post('/notes', { text })
    expect(status, first.running.output).toBe(201)
    expect((await restoredNotes(app, text)).at(-1)).toBe(text)
  }
  expect(enginesOf(app)).toHaveLength(1)
  await expectHealth(app, first)
  expect(await first.running.stop(), first.running.output).toBe(exitCode)
  // It outlives the server for as long as the last commits take.
  await until(() => enginesOf(app).length === 0, 60_000, 'the engine to end')
  app.loseDisk()
  const second = await start()
  expect((await second.post('/notes', { text: 'third' })).status).toBe(201)
  expect(await restoredNotes(app, 'all')).toEqual(['first', 'second', 'third'])
  await second.running.stop()
}

describe.each(['express', 'fastify', 'hono'])('%s', (name) => {
  test('a note that is answered with 201 is stored, and restored where the disk is lost', async () => {
    const app = await InstalledProject.ofExample(name)
    await app.check(['server.ts'], '--module', 'nodenext')
    await serveAndLoseDisk(app, () => app.serve('node', 'server.ts'))
  })
})

describe('nextjs', () => {
  test('a note that is answered with 201 is stored, and restored where the disk is lost', async () => {
    const app = await InstalledProject.ofExample('nextjs')
    await app.run('next', 'build')
    expect(enginesOf(app)).toEqual([])
    await expectUnaskedEngine(app, 'next', 'start')
    // As it ends at SIGTERM.
    await serveAndLoseDisk(app, () => app.serve('next', 'start'), 143)
  })

  test('bundled, it works where the package is installed, and says what to add where it is not', async () => {
    const app = await InstalledProject.ofExample('nextjs')
    writeFileSync(app.path('next.config.ts'), 'export default {}')
    await app.run('next', 'build')
    const server = await app.serve('next', 'start')
    expect((await server.post('/notes', { text: 'kept' })).status).toBe(201)
    expect(await restoredNotes(app, 'bundled')).toEqual(['kept'])
    await server.running.stop()

    renameSync(app.path('node_modules/tsreplicate'), app.path('node_modules/gone'))
    const alone = app.start('next', ['start'], { PORT: String(await freePort()) })
    await alone.waitFor(/serverExternalPackages: \['tsreplicate'\] in next\.config\.ts/)
    expect(alone.output).toContain('the package tsreplicate is not found from')
    await alone.stop()
  })

  test('there is one engine, however often modules are loaded anew', async () => {
    const app = await InstalledProject.ofExample('nextjs')
    const server = await app.serve('next', 'dev')
    expect((await server.post('/notes', { text: 'first' })).status).toBe(201)
    const engines = enginesOf(app)
    expect(engines).toHaveLength(1)
    for (const name of ['lib/store.ts', 'app/notes/route.ts', 'app/page.tsx']) {
      const path = app.path(name)
      const marked = `reloaded by ${name}`
      const source = readFileSync(app.path('app/page.tsx'), 'utf8')
      writeFileSync(app.path('app/page.tsx'), source.replace(/<ul.*>/, `<ul title="${marked}">`))
      writeFileSync(path, `${readFileSync(path, 'utf8')}\nconsole.log(${JSON.stringify(marked)})\n`)
      const isReloaded = async (): Promise<boolean> => {
        const text = await (await server.get('/')).text()
        return text.includes(marked) && text.includes('first')
      }
      await until(isReloaded, 60_000, () => `a reload: ${server.running.output}`)
      expect((await server.post('/notes', { text: marked })).status).toBe(201)
      expect(enginesOf(app)).toEqual(engines)
    }
    expect(await restoredNotes(app, 'all')).toHaveLength(4)
    await server.running.stop()
  })
})

test('sveltekit: a note that is answered with 201 is stored, and restored where the disk is lost', async () => {
  const app = await InstalledProject.ofExample('sveltekit')
  await app.run('vite', 'build')
  expect(enginesOf(app)).toEqual([])
  await expectUnaskedEngine(app, 'node', 'build')
  await serveAndLoseDisk(app, () => app.serve('node', 'build'))
})
