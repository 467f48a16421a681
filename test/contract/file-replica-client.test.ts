import { fork } from 'node:child_process'
import { once } from 'node:events'
import {
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ReplicaError } from '../../src/domain/errors.js'
import { type FileOwnership } from '../../src/infrastructure/files/ownership.js'
import { FileReplicaClient } from '../../src/infrastructure/replica-clients/file/file-replica-client.js'
import {
  collect,
  describeReplicaClient,
  generation,
  get,
  put,
  segment,
  signal,
  snapshot,
} from './replica-client.contract.js'

describeReplicaClient('file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'replica-'))
  const path = join(folder, 'deep', 'root')
  return {
    client: new FileReplicaClient({ path, owner: undefined }),
    putForeign: async (name, bytes) => {
      await mkdir(dirname(join(path, name)), { recursive: true })
      await writeFile(join(path, name), bytes)
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
})

let root: string

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'replica-'))
})

afterEach(async () => {
  await rm(root, { recursive: true, force: true })
})

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777

test('files and folders get the mode of the database and its folder', async () => {
  const path = join(root, 'new')
  const owner = { fileMode: 0o640, directoryMode: 0o750, uid: 12_345, gid: 12_345 }
  await put(new FileReplicaClient({ path, owner: () => owner }), segment(0, 0), Buffer.from('x'))
  const wal = join(path, 'generations', generation, 'wal')
  expect(await modeOf(path)).toBe(0o750)
  expect(await modeOf(wal)).toBe(0o750)
  expect(await modeOf(join(wal, '00000000_00000000.wal.lz4'))).toBe(0o640)
})

test('without an owner, only we may read', async () => {
  await put(
    new FileReplicaClient({ path: join(root, 'new'), owner: undefined }),
    snapshot(0),
    Buffer.from('x'),
  )
  const folder = join(root, 'new', 'generations', generation, 'snapshots')
  expect(await modeOf(folder)).toBe(0o700)
  expect(await modeOf(join(folder, '00000000.snapshot.lz4'))).toBe(0o600)
})

test('sweep removes temporary files that nobody writes any more', async () => {
  const client = new FileReplicaClient({ path: root, owner: undefined })
  await put(client, segment(0, 0), Buffer.from('x'))
  const folder = join(root, 'generations', generation, 'wal')
  const name = '00000000_00000020.wal.lz4'
  const kept = [
    '00000000_00000000.wal.lz4',
    `${name}.1-7.tsr.tmp`,
    `${name}.tmp`,
    'notes.tmp',
    'notes.999999999-1.tsr.tmp',
  ]
  const old = '00000000_00000040.wal.lz4.tmp'
  const left = [old, `${name}.999999999-1.tsr.tmp`, `${name}.${process.pid}-1.tsr.tmp`]
  for (const file of [...kept.slice(1), ...left]) await writeFile(join(folder, file), 'x')
  const twoHoursAgo = new Date(Date.now() - 7_200_000)
  await utimes(join(folder, old), twoHoursAgo, twoHoursAgo)
  await utimes(join(folder, 'notes.tmp'), twoHoursAgo, twoHoursAgo)
  await client.sweep(signal)
  expect((await readdir(folder)).sort()).toEqual(kept.sort())
})

test('what the file system refuses is a retryable ReplicaError that names the path', async () => {
  await writeFile(join(root, 'generations'), 'a file where a folder should be')
  const client = new FileReplicaClient({ path: root, owner: undefined })
  await expect(put(client, segment(0, 0), Buffer.from('x'))).rejects.toMatchObject({
    name: 'ReplicaError',
    retryable: true,
    message: expect.stringContaining(`${root}/generations/${generation}/wal/`) as string,
  })
  await expect(get(client, segment(0, 0))).rejects.toThrow(ReplicaError)
  await expect(collect(client.listGenerations(signal))).rejects.toThrow(ReplicaError)
})

test.skipIf(process.platform !== 'linux')(
  'a folder in which nothing can be created is an error, not an endless attempt',
  async () => {
    const client = new FileReplicaClient({ path: '/proc/tsreplicate/replica', owner: undefined })
    await expect(put(client, snapshot(0), Buffer.from('x'))).rejects.toMatchObject({
      code: 'REPLICA',
      retryable: true,
      message: expect.stringContaining('/proc/tsreplicate') as string,
    })
  },
)

describe('a finished local file', () => {
  const name = '00000000_00000000.wal.lz4'
  const wal = (): string => join(root, 'replica', 'generations', generation, 'wal')
  const client = (): FileReplicaClient =>
    new FileReplicaClient({ path: join(root, 'replica'), owner: undefined })

  async function offer(file: string, expectedBytes: number): Promise<boolean> {
    await using upload = await client().startUpload(segment(0, 0), { expectedBytes, file }, signal)
    if (upload.isWhole) await upload.finish()
    return upload.isWhole
  }

  test('is taken as it is, and the object stays when the file is removed', async () => {
    const file = join(root, 'sealed')
    await writeFile(file, 'frames')
    expect(await offer(file, 6)).toBe(true)
    expect((await stat(join(wal(), name))).ino).toBe((await stat(file)).ino)
    await rm(file)
    expect(String(await get(client(), segment(0, 0)))).toBe('frames')
    expect(await readdir(wal())).toEqual([name])
  })

  test('that somebody puts another one in the place of has no other file’s mode changed', async () => {
    const [file, victim] = [join(root, 'sealed'), join(root, 'victim')]
    for (const path of [file, victim]) await writeFile(path, 'frames', { mode: 0o600 })
    await mkdir(wal(), { recursive: true })
    // The folder stays.
    await writeFile(join(wal(), 'kept'), '')
    const swaps = fork(join(import.meta.dirname, '../support/swap-linked.mjs'), [wal(), victim])
    let count = 0
    await once(swaps, 'message')
    swaps.on('message', () => (count += 1))
    try {
      const owner = (): FileOwnership => ({ fileMode: 0o644 })
      const replica = new FileReplicaClient({ path: join(root, 'replica'), owner })
      // What then becomes of the object is another matter: who writes to the folder can do with it what he likes.
      while (count < 100) {
        const options = { file, expectedBytes: 6 }
        await replica.startUpload(segment(0, 0), options, signal).then(
          (upload) => upload[Symbol.asyncDispose](),
          () => undefined,
        )
      }
    } finally {
      swaps.kill()
    }
    expect(await modeOf(victim)).toBe(0o600)
  })

  test('that had been stored before the process died leaves no temporary name', async () => {
    const file = join(root, 'sealed')
    await writeFile(file, 'frames')
    await mkdir(wal(), { recursive: true })
    await link(file, join(wal(), name))
    expect(await offer(file, 6)).toBe(true)
    expect(await readdir(wal())).toEqual([name])
  })

  test('takes the place of another object of its name, whose file does not change', async () => {
    await put(client(), segment(0, 0), Buffer.from('other'))
    await link(join(wal(), name), join(root, 'other'))
    await writeFile(join(root, 'sealed'), 'frames')
    expect(await offer(join(root, 'sealed'), 6)).toBe(true)
    expect(String(await get(client(), segment(0, 0)))).toBe('frames')
    expect(await readFile(join(root, 'other'), 'utf8')).toBe('other')
  })

  test('is not taken when it is gone or not what it was, and nothing stays', async () => {
    const file = join(root, 'sealed')
    await writeFile(file, 'frames and more')
    expect(await offer(file, 6)).toBe(false)
    expect(await offer(join(root, 'no such file'), 6)).toBe(false)
    expect(await collect(client().listGenerations(signal))).toEqual([])
  })

  test('is given up without a trace', async () => {
    const file = join(root, 'sealed')
    await writeFile(file, 'frames')
    {
      await using upload = await client().startUpload(
        segment(0, 0),
        { expectedBytes: 6, file },
        signal,
      )
      expect(upload.isWhole).toBe(true)
    }
    expect(await collect(client().listGenerations(signal))).toEqual([])
    expect(await readFile(file, 'utf8')).toBe('frames')
  })
})

test('an object is no older than its file, to the millisecond', async () => {
  const client = new FileReplicaClient({ path: root, owner: undefined })
  await put(client, snapshot(0), Buffer.from('x'))
  const path = join(root, 'generations', generation, 'snapshots', '00000000.snapshot.lz4')
  await utimes(path, 1_700_000_000, 1_700_000_000.0385)
  const [listed] = await collect(client.listSnapshots(generation, signal))
  expect(listed?.createdAtMs).toBe(1_700_000_000_039)
})

describe('objects that are read at once', () => {
  const range = { offset: 0, length: undefined }
  /** Descriptors of what lies in the replica. */
  const openIn = async (): Promise<readonly string[]> => {
    const fds = await readdir('/proc/self/fd')
    const paths = await Promise.all(
      fds.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
    )
    return paths.filter((path) => path.startsWith(root))
  }

  test.skipIf(process.platform !== 'linux')(
    'need one descriptor of their folder, and none when they are read',
    async () => {
      const client = new FileReplicaClient({ path: root, owner: undefined })
      await put(client, segment(0, 0), Buffer.alloc(3_000_000))
      const readers = Array.from({ length: 20 }, () =>
        client.read(segment(0, 0), range, signal)[Symbol.asyncIterator](),
      )
      await Promise.all(readers.map((reader) => reader.next()))
      const wal = join(root, 'generations', generation, 'wal')
      expect((await openIn()).filter((path) => path === wal)).toHaveLength(1)
      for (const reader of readers) await reader.return?.()
      expect(await openIn()).toEqual([])
    },
  )

  test('are those of the folder that is there when they are asked for', async () => {
    const client = new FileReplicaClient({ path: root, owner: undefined })
    await put(client, segment(0, 0), Buffer.alloc(3_000_000))
    const reader = client.read(segment(0, 0), range, signal)[Symbol.asyncIterator]()
    await reader.next()
    await rename(join(root, 'generations'), join(root, 'former'))
    await expect(get(client, segment(0, 0))).rejects.toThrow('does not exist')
    await put(client, segment(0, 0), Buffer.from('new'))
    expect(String(await get(client, segment(0, 0)))).toBe('new')
    expect(await reader.next()).toMatchObject({ done: false })
    await reader.return?.()
  })
})
