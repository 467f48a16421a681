/** A project in a folder of its own that has installed the package as it is published. */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inject } from 'vitest'
import { root, Running, temporaryFolder, until } from './cli.ts'
import { freePort } from './stores/server.ts'

interface Manifest {
  readonly [key: string]: unknown
  readonly dependencies: Readonly<Record<string, string>>
}

type Environment = Readonly<Record<string, string>>

/** Nothing that it brings is to need a script, or be compiled. */
const installFlags = ['--ignore-scripts', '--include=dev', '--prefer-offline', '--no-audit']
/** What vitest sets would change what a framework does. */
const notInherited = ['NODE_ENV', 'NODE_OPTIONS', 'VITEST'].map((name) => `-u${name}`)

export class InstalledProject {
  readonly folder: string
  /** A folder that replicas may be in. */
  readonly replica: string
  readonly env: Environment

  private constructor(env: Environment) {
    const folder = temporaryFolder()
    this.folder = join(folder, 'project')
    this.replica = join(folder, 'replica')
    const programs = [this.path('node_modules/.bin'), join(process.execPath, '..')]
    this.env = {
      PATH: [...programs, process.env['PATH'] ?? ''].join(':'),
      REPLICA_URL: `file://${this.replica}`,
      NEXT_TELEMETRY_DISABLED: '1',
      CHECKPOINT_DISABLE: '1',
      ...env,
    }
  }

  /** One of the applications of `examples`. */
  static async ofExample(name: string, env: Environment = {}): Promise<InstalledProject> {
    const project = new InstalledProject(env)
    cpSync(join(root, 'examples', name), project.folder, { recursive: true })
    const manifest = readFileSync(project.path('package.json'), 'utf8')
    await project.#install(JSON.parse(manifest) as Manifest)
    return project
  }

  /** One that has nothing else than these. */
  static async withOnly(dependencies: Manifest['dependencies']): Promise<InstalledProject> {
    const project = new InstalledProject({})
    mkdirSync(project.folder)
    await project.#install({ private: true, dependencies })
    return project
  }

  async #install(manifest: Manifest): Promise<void> {
    const dependencies = { ...manifest.dependencies, tsreplicate: `file:${inject('tarball')}` }
    this.write('package.json', JSON.stringify({ ...manifest, dependencies }))
    await this.run('npm', 'install', '--loglevel=error', ...installFlags)
  }

  path(...names: readonly string[]): string {
    return join(this.folder, ...names)
  }

  write(name: string, text: string): void {
    writeFileSync(this.path(name), text)
  }

  start(command: string, args: readonly string[], env: Environment = {}): Running {
    const place = ['-C', this.folder, ...notInherited]
    return new Running(command, 'env', [...place, command, ...args], { ...this.env, ...env })
  }

  /** Runs a command to its end, which must be a success, and returns what it printed. */
  async run(command: string, ...args: readonly string[]): Promise<string> {
    const running = this.start(command, args)
    const code = await running.exit(600_000)
    if (code === 0) return running.stdout
    throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${running.output}`)
  }

  /** Has TypeScript check these files strictly. */
  async check(files: readonly string[], ...options: readonly string[]): Promise<void> {
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    const strictly = ['--noEmit', '--strict', '--target', 'es2022', '--types', 'node']
    await this.run('node', tsc, ...strictly, ...options, ...files)
  }

  /** What a query finds in a database, or changes there, by the project's own library. */
  async query(path: string, sql: string): Promise<unknown> {
    const script = `const db = require('better-sqlite3')(${JSON.stringify(path)})
      const statement = db.prepare(${JSON.stringify(sql)})
      console.log(JSON.stringify(statement.reader ? statement.all() : statement.run()))`
    return JSON.parse(await this.run('node', '-e', script))
  }

  /** Restores what is stored at this moment, as on another machine, and returns the path of that. */
  async restore(name: string): Promise<string> {
    const output = this.path(name)
    await this.run('tsreplicate', 'restore', '-o', output, this.env['REPLICA_URL'] ?? '')
    return output
  }

  /** A server of it, once it answers, whatever it says. */
  async serve(command: string, ...args: readonly string[]): Promise<Server> {
    const port = await freePort()
    const server = new Server(this.start(command, args, { PORT: String(port) }), port)
    await server.answers()
    return server
  }

  /** The disk with the database is lost. */
  loseDisk(): void {
    rmSync(this.path('data'), { recursive: true })
    mkdirSync(this.path('data'))
  }
}

export class Server {
  readonly running: Running
  readonly #url: string

  constructor(running: Running, port: number) {
    this.running = running
    this.#url = `http://localhost:${port}`
  }

  async answers(): Promise<void> {
    const answers = async (): Promise<boolean> => {
      if (this.running.ended) throw new Error(`it has ended: ${this.running.output}`)
      return this.get('/internal/readyz').then(
        () => true,
        () => false,
      )
    }
    await until(answers, 120_000, () => `the server to answer: ${this.running.output}`)
  }

  get(path: string): Promise<Response> {
    return fetch(`${this.#url}${path}`, { headers: { connection: 'close' } })
  }

  post(path: string, body: object): Promise<Response> {
    const headers = { 'content-type': 'application/json', connection: 'close' }
    return fetch(`${this.#url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
  }
}
