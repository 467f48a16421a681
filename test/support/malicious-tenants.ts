/**
 * What a tenant does in his own folder, of which he can make whatever he likes, to overwrite files of root, to have somebody
 * else's database stored as his, or to stop the replication of all. Scripts of the shell, run as he, in his home.
 */
import Database from 'better-sqlite3'
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { does, type Tenant } from './tenants.ts'

/** What he is after. */
export interface Victims {
  /** A folder of root with one file, and a file of root. */
  readonly folder: string
  readonly secret: string
  /** The database of somebody else. */
  readonly database: string
}

interface Attack {
  /** Before the daemon comes. */
  readonly before?: (victims: Victims) => string
  /** While it replicates the database. */
  readonly during?: (victims: Victims) => string
  /** What root does besides, before and meanwhile, who has been talked into it. */
  readonly byRoot?: (db: string, replica: string) => void
  readonly byRootLater?: (db: string) => void
  /** In his replica, where that is his. */
  readonly inReplica?: (victims: Victims) => string
  /** What his database becomes before. */
  readonly schema?: string
  /** What is said of his database, and that it is not ready, unless it was found in a folder and is none any more. */
  readonly complaint?: RegExp
  readonly isGone?: boolean
}

const state = '.app.db-tsreplicate'
const somebodyElse = 61_099
const records = ['state', 'owner-file', 'stored-file', 'retention-file', 'file']
const nest = 'n'.repeat(250)
export const tooDeep = 'folders that are nested too deep'

/** A process that is always there, as a lock or an owner object names one. */
export function processOne(): object {
  const fact = (path: string): string => readFileSync(path, 'utf8').trim()
  return {
    host: hostname(),
    machine: existsSync('/etc/machine-id') ? fact('/etc/machine-id') : '',
    boot: fact('/proc/sys/kernel/random/boot_id'),
    pidNamespace: readlinkSync('/proc/self/ns/pid'),
    isContained: false,
    pid: 1,
    startTicks: '',
    startedAtMs: 0,
  }
}

/** Makes a replica whose owner object says so. */
export function ownedByOne(replica: string, fields: object = {}): void {
  const time = new Date().toISOString()
  const owner = {
    ...{ version: 1, token: 'forged', epoch: 1, instance: 'forged', process: processOne() },
    ...{ claimedAt: time, renewedAt: time, leaseMs: null, released: false, stored: null },
    ...fields,
  }
  mkdirSync(replica, { recursive: true })
  writeFileSync(join(replica, 'tsreplicate-owner.1.json'), JSON.stringify(owner))
}

/** Each does harm to nobody but himself: with a `complaint` his database is not stored, and without one it is. */
export const attacks: Readonly<Record<string, Attack>> = {
  'a link in the place of the local state': {
    before: ({ folder }) => `ln -s ${folder} ${state}`,
  },
  'links in the local state': {
    before: ({ folder, secret }) =>
      `mkdir ${state}; cd ${state}; ln -s ${folder} spool
       for name in ${records.join(' ')}; do ln -s ${secret} $name.json.tmp; ln -s ${secret} $name.json; done`,
  },
  'FIFOs in the local state': {
    before: () =>
      `mkdir ${state}; cd ${state}; mkfifo lock spool new.tmp
       for name in ${records.join(' ')}; do mkfifo $name.json; done`,
  },
  'a lock that names a process that is always there': {
    before: () => `mkdir ${state} && echo '${JSON.stringify(processOne())}' > ${state}/lock`,
  },
  'an owner object that names a process that is always there': {
    byRoot: (_, replica) => ownedByOne(replica),
  },
  [tooDeep]: {
    // From within, so that no path is ever too long.
    before: () =>
      `mkdir ${nest}; for i in $(seq 19); do mkdir up; mv ${nest} up; mv up ${nest}; done`,
  },
  'names with line breaks and escape sequences': {
    before: () => `touch "$(printf 'a\\nb.db')" "$(printf '\\033[2J.db')"; mkfifo fifo.db`,
  },
  'a schema that never ends': {
    schema: 'instr(zeroblob(40000000), zeroblob(20000000) || text)',
  },
  'a FIFO in the place of the database': {
    before: () => 'rm app.db*; mkfifo app.db',
    complaint: /not a regular file/,
    isGone: true,
  },
  'a FIFO as -wal': { before: () => 'mkfifo app.db-wal', complaint: /not a regular file/ },
  'a link as -wal': {
    before: ({ database }) => `ln -s ${database} app.db-wal`,
    complaint: /not a regular file/,
  },
  'a link as -shm': {
    before: ({ secret }) => `ln -s ${secret} app.db-shm`,
    complaint: /not a regular file/,
  },
  'a FIFO as -shm': { before: () => 'mkfifo app.db-shm', complaint: /not a regular file/ },
  'a FIFO as -journal': { before: () => 'mkfifo app.db-journal', complaint: /not a regular file/ },
  'a journal that names a FIFO': {
    // The name, its length and checksum, and what a journal of several databases ends with.
    before: () =>
      `mkfifo x; printf 'x\\000\\000\\000\\001\\000\\000\\000\\170\\331\\325\\005\\371\\040\\241\\143\\327' > app.db-journal`,
    complaint: /of a transaction in several databases/,
  },
  'a FIFO as -journal that comes and goes': {
    during: () =>
      'for i in $(seq 40); do mkfifo app.db-journal; sleep 0.02; rm app.db-journal; done',
  },
  'a second name for -wal': {
    before: () => ': > log; ln log app.db-wal',
    complaint: /has another name \(a hard link\)/,
  },
  'a -wal of somebody else': {
    byRoot: (db) => giveBeside(db, '-wal'),
    complaint: /-wal belongs to user 61099, and the database to user/,
  },
  'a -shm of somebody else': {
    byRoot: (db) => giveBeside(db, '-shm'),
    complaint: /-shm belongs to user 61099, and the database to user/,
  },
  'a -wal of somebody else, later': {
    byRootLater: (db) => giveBeside(db, '-wal'),
    complaint: /-wal belongs to user 61099, and the database to user/,
  },
  'a database that is given to somebody else': {
    byRootLater: (db) => chownSync(db, somebodyElse, somebodyElse),
    complaint: /belongs to user 61099 now, and belonged to user \d+ when it was first opened/,
  },
  'a replica in which things are that are none': {
    inReplica: ({ folder }) =>
      `mkfifo tsreplicate-owner.999.json; cd generations; ln -s ${folder} 0123456789abcdef
       cd $(ls | grep -v 0123456789abcdef); mkdir -p wal; mkfifo wal/000000ff_00000000.wal.lz4`,
  },
  'a database of 4 TB that is all holes': {
    before: () => 'truncate -s 4T app.db',
    complaint: /only .* on the disk/,
  },
  'a second name for the database': {
    before: () => 'ln app.db other',
    complaint: /2 names/,
  },
  'a text in the place of the database': {
    before: () => 'rm app.db*; seq 100000 > app.db',
    complaint: /not a database/,
    isGone: true,
  },
  'a -shm that he truncates while it is in use': {
    during: () => 'for i in $(seq 40); do : > app.db-shm; touch app.db-wal; sleep 0.05; done',
  },
  'links to somebody else’s database in the place of his': {
    during: ({ database }) =>
      `for end in '' -wal -shm; do ln -s ${database}$end new; mv -T new app.db$end; done`,
    complaint: /is a link of user/,
    isGone: true,
  },
  'a database that he removes': {
    during: () => 'rm app.db*',
    complaint: /is gone/,
    isGone: true,
  },
  'a FIFO in the place of the database, later': {
    during: () => 'mkfifo new; mv -T new app.db; rm -f app.db-wal app.db-shm',
    complaint: /not a regular file|replaced/,
    isGone: true,
  },
}

function giveBeside(db: string, suffix: string): void {
  rmSync(`${db}${suffix}`, { force: true })
  writeFileSync(`${db}${suffix}`, '')
  chownSync(`${db}${suffix}`, somebodyElse, somebodyElse)
}

/** Of all attacks that are none on his own database, what comes before: one after the other, as far as they go together. */
export function everythingElse(victims: Victims): string {
  const scripts = Object.values(attacks).flatMap(({ before, complaint }) =>
    before === undefined || complaint !== undefined ? [] : [before(victims)],
  )
  return scripts.map((script) => `(${script}) 2>&- || :`).join('\n')
}

/** Makes his database and its replica what the attack wants, and does what comes before. */
export function prepare(
  tenant: Tenant,
  attack: Attack,
  { victims, replica }: { readonly victims: Victims; readonly replica: string },
): void {
  if (attack.schema !== undefined) {
    const database = new Database(tenant.db)
    database.unsafeMode(true).pragma('writable_schema = on')
    database
      .prepare('update sqlite_schema set sql = replace(sql, ?, ?)')
      .run('text)', `text, c as (${attack.schema}) not null)`)
    database.close()
    for (const file of readdirSync(tenant.home))
      chownSync(join(tenant.home, file), tenant.user, tenant.user)
  }
  if (attack.before !== undefined) does(tenant, attack.before(victims))
  attack.byRoot?.(tenant.db, replica)
}

/** Does what comes while the daemon replicates. `isReplicaHis`: he may write to it. */
export function goOn(
  tenant: Tenant,
  attack: Attack,
  {
    victims,
    replica,
    isReplicaHis,
  }: { readonly victims: Victims; readonly replica: string; readonly isReplicaHis: boolean },
): void {
  if (attack.during !== undefined) does(tenant, attack.during(victims))
  attack.byRootLater?.(tenant.db)
  if (attack.inReplica !== undefined && isReplicaHis && existsSync(replica))
    does({ ...tenant, home: replica }, attack.inReplica(victims))
}

/** Whether his database is replicated until it comes. */
export function isLater({ during, byRootLater }: Attack): boolean {
  return during !== undefined || byRootLater !== undefined
}
