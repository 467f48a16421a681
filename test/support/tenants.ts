/** Users of one machine whose databases one daemon of root replicates. */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { root, temporaryFolder } from './cli.ts'
import { sayAtTheEnd } from './last-lines.ts'
import { makeNotes } from './notes.ts'

export const isRoot = process.getuid?.() === 0
if (!isRoot) sayAtTheEnd('tenants of one machine were not tested: that takes root')

export const firstUser = 61_100

export interface Tenant {
  readonly name: string
  readonly user: number
  readonly home: string
  readonly db: string
}

export interface Host {
  /** All is below it, and only root writes in it. */
  readonly folder: string
  readonly homes: string
  /** Where local state is that no tenant reaches. */
  readonly state: string
  readonly replicas: string
  readonly tenants: readonly Tenant[]
}

/** A machine whose tenants have a database of one note each, which is their name. */
export function makeHost(...names: readonly string[]): Host {
  return makeHostIn(temporaryFolder(), names)
}

export function makeHostIn(folder: string, names: readonly string[]): Host {
  chmodSync(folder, 0o755)
  const [homes, state, replicas] = ['homes', 'state', 'replicas'].map((name) => join(folder, name))
  mkdirSync(homes!)
  const tenants = names.map((name, i) => {
    const [user, home] = [firstUser + i, join(homes!, name)]
    mkdirSync(home)
    const db = join(home, 'app.db')
    makeNotes(db, name)
    for (const file of readdirSync(home)) chownSync(join(home, file), user, user)
    chownSync(home, user, user)
    return { name, user, home, db }
  })
  return { folder, homes: homes!, state: state!, replicas: replicas!, tenants }
}

/** What a script of the shell does as the tenant, in his home. */
export function does({ user, home }: Tenant, script: string): string {
  const args = [`--reuid=${user}`, `--regid=${user}`, '--clear-groups', 'sh', '-ec', script]
  return execFileSync('setpriv', args, { cwd: home, encoding: 'utf8' })
}

/** His application adds a note. What its write comes to: empty, or its error. */
export function writesNote({ user, db, home }: Tenant, note: string): string {
  const script = `const Database = require(${JSON.stringify(join(root, 'node_modules/better-sqlite3'))})
    const db = new Database(${JSON.stringify(db)})
    db.prepare('insert into note values (?)').run(${JSON.stringify(note)}); db.close()`
  const ids = [`--reuid=${user}`, `--regid=${user}`, '--clear-groups']
  const args = [...ids, process.execPath, '-e', script]
  return spawnSync('setpriv', args, { cwd: home, encoding: 'utf8' }).stderr
}

/** Each database named, or their folder. `of` says what is set for one tenant alone, where each is named. */
export function configOf(
  { folder, homes, state, replicas, tenants }: Host,
  {
    by,
    of = () => ({}),
    replica = {},
    shutdownTimeout = '30s',
    ...more
  }: {
    readonly by: 'path' | 'dir'
    /** What is set for all replicas. */
    readonly replica?: Readonly<Record<string, unknown>>
    /** How long an end may take where something is never stored. */
    readonly shutdownTimeout?: string
    readonly of?: (tenant: Tenant) => Readonly<Record<string, unknown>>
  } & Readonly<Record<string, unknown>>,
): string {
  const replicaOf = (path: string): object => ({
    ...{ path, 'sync-interval': '100ms', 'max-lag': '5s' },
    ...replica,
  })
  const dbs =
    by === 'dir'
      ? [{ dir: homes, recursive: true, replicas: [replicaOf(replicas)], ...more }]
      : tenants.map((tenant) => ({
          path: tenant.db,
          replicas: [replicaOf(join(replicas, tenant.name, 'app.db'))],
          ...more,
          ...of(tenant),
        }))
  const path = join(folder, 'tsreplicate.yml')
  // A database that is never stored holds up systemd for this long, and no longer.
  const settings = {
    addr: '127.0.0.1:0',
    'state-path': state,
    'first-sync-timeout': '3s',
    'shutdown-timeout': shutdownTimeout,
  }
  writeFileSync(path, JSON.stringify({ ...settings, dbs }))
  return path
}

/** Whose something is, and with which mode. */
export function rightsOf(path: string): string {
  const { uid, mode } = lstatSync(path)
  return `${uid} ${(mode & 0o7777).toString(8)}`
}
