/** Every step that a crash can fall between, by name: a system call on a path. */
import { hasPageMap } from './cli.ts'
import { type Call, type Moment } from './kill-at-call.ts'

export interface CrashPoint extends Call {
  readonly name: string
  /**
   * When it is waited for: from the start; from a start at which a new generation begins, because the WAL was truncated, or
   * what differs is appended, because there is a page map; once the daemon has caught up; or when it is told to stop then.
   */
  readonly from: 'start' | 'new generation' | 'difference' | 'running' | 'stop'
  /** Which of the calls, each in a cycle of its own. */
  readonly nth: readonly number[]
}

const meta = '/\\.app\\.db-tsreplicate'
const gen = '[0-9a-f]{16}'
const spool = `${meta}/spool/${gen}`
const stored = `/[ab]/generations/${gen}`
const owner = '/[ab]/tsreplicate-owner\\.[0-9]+\\.json'

type Shape = Pick<CrashPoint, 'from'> & {
  readonly nth?: readonly number[]
  readonly since?: string
}

function point(name: string, calls: string, path: string, shape: Shape): CrashPoint {
  return { name, calls, path: `${path}$`, nth: [1], ...shape }
}

/** A file that is made under a temporary name, synced, renamed, and whose folder is synced. */
function atomicFile(
  name: string,
  file: {
    readonly folder: string
    readonly name: string
    readonly temporary: string
    readonly call?: 'rename' | 'replace'
  },
  shape: Shape,
): CrashPoint[] {
  const { call = 'rename' } = file
  return [
    point(`${name}: created`, 'create', `${file.folder}/${file.temporary}`, shape),
    point(`${name}: written`, 'write', `${file.folder}/${file.temporary}`, shape),
    point(`${name}: synced`, 'sync', `${file.folder}/${file.temporary}`, shape),
    point(`${name}: renamed`, call, `${file.folder}/${file.name}`, shape),
    point(`${name}: folder synced`, 'sync', file.folder, {
      ...shape,
      since: `${call} ${file.folder}/${file.name}$`,
    }),
  ]
}

/** A spooled segment that a replica on the same file system takes as it is. */
function linkedFile(name: string, folder: string): CrashPoint[] {
  const segment = '[0-9a-f]{8}_[0-9a-f]{8}\\.wal\\.lz4'
  const shape: Shape = { from: 'running' }
  const renamed = `${folder}/${segment}`
  return [
    point(`${name}: linked`, 'link', `${renamed}\\..*\\.tmp`, shape),
    // It takes no other's place.
    point(`${name}: given its name`, 'link', renamed, shape),
    point(`${name}: temporary name removed`, 'unlink', `${renamed}\\..*\\.tmp`, {
      ...shape,
      since: `link ${renamed}$`,
    }),
    point(`${name}: folder synced`, 'sync', folder, { ...shape, since: `link ${renamed}$` }),
  ]
}

const segmentFile = {
  folder: spool,
  name: '[0-9a-f]{8}_[0-9a-f]{8}\\.wal\\.lz4',
  temporary: '[0-9a-f]{8}_[0-9a-f]{8}\\.wal\\.lz4\\.[0-9a-f]+\\.tmp',
}

/** Where a page map is kept. */
const pageMapPoints: readonly CrashPoint[] = [
  ...atomicFile(
    'page map: log begun',
    { folder: spool, name: 'pages\\.log', temporary: 'pages\\.log\\.[0-9a-f]+\\.tmp' },
    { from: 'new generation' },
  ),
  ...atomicFile(
    'page map: begun',
    { folder: spool, name: 'pages\\.map', temporary: 'pages\\.map\\.[0-9a-f]+\\.tmp' },
    { from: 'new generation' },
  ),
  ...atomicFile(
    'page map: put on what a snapshot read',
    {
      folder: spool,
      name: 'pages\\.map',
      temporary: 'pages\\.map\\.[0-9a-f]+\\.tmp',
      call: 'replace',
    },
    { from: 'new generation' },
  ),
  point('page map: digests of a snapshot', 'create,write', `${spool}/pages\\.body\\..*\\.tmp`, {
    from: 'new generation',
    nth: [1, 2],
  }),
  point('page map: digests of a snapshot removed', 'unlink', `${spool}/pages\\.body\\..*\\.tmp`, {
    from: 'new generation',
  }),
  ...atomicFile(
    'page map: log begun anew',
    {
      folder: spool,
      name: 'pages\\.log',
      temporary: 'pages\\.log\\.[0-9a-f]+\\.tmp',
      call: 'replace',
    },
    { from: 'new generation' },
  ),
  point('page map: segment noted', 'write', `${spool}/pages\\.log`, {
    from: 'running',
    nth: [1, 3],
  }),
  point('page map: log cut', 'truncate', `${spool}/pages\\.log`, { from: 'running', nth: [1, 2] }),
  ...atomicFile('difference', segmentFile, { from: 'difference' }),
  point('difference: noted in the page map', 'write', `${spool}/pages\\.log`, {
    from: 'difference',
  }),
]

export const daemonPoints: readonly CrashPoint[] = [
  ...(hasPageMap ? pageMapPoints : []),
  point('lock: written', 'create,write', `${meta}/lock\\.[0-9a-f-]+\\.tmp`, {
    from: 'start',
    nth: [1, 2],
  }),
  point('lock: a dead one put aside', 'rename', `${meta}/lock\\.[0-9a-f]+\\.tmp`, {
    from: 'start',
  }),
  point('lock: taken', 'link', `${meta}/lock`, { from: 'start' }),
  point('lock: temporaries removed', 'unlink', `${meta}/lock\\..*\\.tmp`, {
    from: 'start',
    nth: [1, 2],
  }),
  point('lock: let go', 'unlink', `${meta}/lock`, { from: 'stop' }),
  point('spool: leftover removed', 'unlink', `${spool}/.*\\.tmp`, { from: 'start' }),
  point('generation: folder made', 'mkdir', spool, { from: 'new generation' }),
  point('generation: folder synced', 'sync', `${meta}/spool`, { from: 'new generation' }),
  ...atomicFile(
    'state file',
    {
      folder: meta,
      name: 'state\\.json',
      temporary: 'state\\.json\\.[0-9a-f]+\\.tmp',
      call: 'replace',
    },
    { from: 'new generation' },
  ),
  point('generation: segments of the last one removed', 'unlink', `${spool}/.*\\.lz4`, {
    from: 'new generation',
    since: `replace ${meta}/state\\.json$`,
    nth: [1, 2],
  }),
  point('generation: folder of the last one removed', 'rmdir', spool, { from: 'new generation' }),
  ...atomicFile('spooled segment', segmentFile, { from: 'running', nth: [1, 3] }),
  point('merged segment: put in the place of its first part', 'replace', `${spool}/.*\\.lz4`, {
    from: 'running',
  }),
  point('merged segment: folder synced', 'sync', spool, {
    from: 'running',
    since: `replace ${spool}/.*\\.lz4$`,
  }),
  point('merged segment: other parts removed', 'unlink', `${spool}/.*\\.lz4`, {
    from: 'running',
    since: `replace ${spool}/.*\\.lz4$`,
    nth: [1, 3],
  }),
  point('spool: stored segments removed', 'unlink', `${spool}/.*\\.lz4`, {
    from: 'running',
    since: `sync /b/generations/${gen}/wal$`,
    nth: [1, 3],
  }),
  ...atomicFile(
    'owner: what was claimed is noted',
    {
      folder: meta,
      name: 'owner-[ab]\\.json',
      temporary: 'owner-[ab]\\.json\\.[0-9a-f]+\\.tmp',
      call: 'replace',
    },
    { from: 'start', nth: [1, 2] },
  ),
  ...['create', 'write', 'sync'].map((call) =>
    point(`owner: temporary file, ${call}`, call, `${owner}\\..*\\.tmp`, { from: 'start' }),
  ),
  point('owner: replica claimed', 'link', owner, { from: 'start' }),
  point('owner: the version before removed', 'unlink', owner, { from: 'start' }),
  point('owner: temporary file removed', 'unlink', `${owner}\\..*\\.tmp`, {
    from: 'start',
    nth: [1, 2],
  }),
  point('replica: folders made', 'mkdir', `/[ab]/generations/${gen}(/wal|/snapshots)?`, {
    from: 'new generation',
    nth: [1, 3],
  }),
  point('replica: folders synced', 'sync', `/[ab]/generations(/${gen})?`, {
    from: 'new generation',
    nth: [1, 3],
  }),
  ...atomicFile(
    'first snapshot',
    {
      folder: `${stored}/snapshots`,
      name: '[0-9a-f]{8}\\.snapshot\\.lz4',
      temporary: '[0-9a-f]{8}\\.snapshot\\.lz4\\..*\\.tmp',
    },
    { from: 'new generation', nth: [1, 2] },
  ),
  ...atomicFile(
    'later snapshot',
    {
      folder: `${stored}/snapshots`,
      name: '[0-9a-f]{8}\\.snapshot\\.lz4',
      temporary: '[0-9a-f]{8}\\.snapshot\\.lz4\\..*\\.tmp',
    },
    { from: 'running' },
  ),
  ...linkedFile('stored segment', `/a/generations/${gen}/wal`),
  ...linkedFile('stored merged segment', `/b/generations/${gen}/wal`),
  point('replica: leftover swept', 'unlink', `${stored}/(wal|snapshots)/.*\\.tmp`, {
    from: 'start',
  }),
  ...atomicFile(
    'retention record',
    {
      folder: meta,
      name: 'retention-[ab]\\.json',
      temporary: 'retention-[ab]\\.json\\.[0-9a-f]+\\.tmp',
    },
    { from: 'running' },
  ),
  ...atomicFile(
    'what is confirmed is noted',
    {
      folder: meta,
      name: 'stored-[ab]\\.json',
      temporary: 'stored-[ab]\\.json\\.[0-9a-f]+\\.tmp',
      call: 'replace',
    },
    { from: 'running' },
  ),
  point('retention record: removed', 'unlink', `${meta}/retention-[ab]\\.json`, {
    from: 'running',
  }),
  point('retention: snapshot deleted', 'unlink', `${stored}/snapshots/.*\\.lz4`, {
    from: 'running',
  }),
  point('retention: segments deleted', 'unlink', `${stored}/wal/.*\\.lz4`, {
    from: 'running',
    nth: [1, 4],
  }),
  point('retention: folders removed', 'rmdir', `${stored}(/wal|/snapshots)?`, {
    from: 'running',
  }),
  point('checkpoint: WAL synced', 'sync', '/app\\.db-wal', { from: 'running' }),
  point('checkpoint: pages copied back', 'write', '/app\\.db', { from: 'running', nth: [1, 5] }),
  point('checkpoint: database cut', 'truncate', '/app\\.db', { from: 'running' }),
  point('checkpoint: database synced', 'sync', '/app\\.db', { from: 'running' }),
]

/** Calls of the daemon that are no step of anything that must survive. */
export const unnamedPaths = new RegExp(
  [
    // SQLite's shared memory, which is made anew after a crash, and the empty log of a check of what is restored.
    '-shm$',
    '\\.tsreplicate-restore-[0-9]+-\\w+/database\\.tmp-wal$',
    // Made once in a lifetime, with the same code as the folders of a generation.
    `${meta}$`,
    `${meta}/spool$`,
    // Not noted each time, with the same code as what is confirmed; without it nothing is lost but a little certainty.
    `${meta}/(database-file|clock-[ab])\\.json(\\.[0-9a-f]+\\.tmp)?$`,
    '/[ab](/generations)?$',
    '^/tmp/[^/]+$',
  ].join('|'),
)

export const applicationPoints: readonly CrashPoint[] = [
  point('application: WAL written', 'write', '/app\\.db-wal', { from: 'running', nth: [1, 2, 3] }),
  point('application: WAL synced', 'sync', '/app\\.db-wal', { from: 'running', nth: [1, 2] }),
  point('application: pages copied back', 'write', '/app\\.db', { from: 'running', nth: [1, 4] }),
  point('application: database synced', 'sync', '/app\\.db', { from: 'running' }),
  point('application: WAL truncated', 'truncate', '/app\\.db-wal', { from: 'running' }),
]

export const restorePoints: readonly CrashPoint[] = [
  ...['create', 'write', 'truncate', 'sync'].map((call) =>
    point(
      `restore: temporary file, ${call}`,
      call,
      '/out/\\.out\\.db\\.tsreplicate-restore-[0-9]+-\\w+/database\\.tmp',
      { from: 'start', nth: call === 'write' ? [1, 5] : [1] },
    ),
  ),
  point('restore: named', 'link', '/out/out\\.db', { from: 'start' }),
  point(
    'restore: its other name removed',
    'unlink',
    '/out/\\.out\\.db\\.tsreplicate-restore-[0-9]+-\\w+/database\\.tmp',
    { from: 'start' },
  ),
  point(
    'restore: its own folder removed',
    'rmdir',
    '/out/\\.out\\.db\\.tsreplicate-restore-[0-9]+-\\w+',
    {
      from: 'start',
    },
  ),
  point('restore: folder synced', 'sync', '/out', { from: 'start' }),
]

/** The moments at which a call can be interrupted. */
export function momentsOf({ calls }: Call): readonly Moment[] {
  return calls.includes('write') ? ['before', 'half', 'after'] : ['before', 'after']
}
