import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { LocalStateError } from '../../../../src/domain/errors.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { type ProcessIdentity } from '../../../../src/domain/process-identity.js'
import { formatTrailer, type WalSegmentTrailer } from '../../../../src/domain/stored/trailer.js'
import { parseLocks } from '../../../../src/infrastructure/files/kernel-locks.js'
import { openSystemProcesses } from '../../../../src/infrastructure/processes/system-processes.js'
import { FolderSpool } from '../../../../src/infrastructure/spool/folder-spool.js'
import { type Spool, type SpooledSegment } from '../../../../src/usecase/ports/spool.js'

const generation = formatGeneration(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]))
const other = formatGeneration(Uint8Array.from([8, 2, 3, 4, 5, 6, 7, 8]))
const identity = { device: 5, inode: 77 }
const { signal } = new AbortController()

const processes = await openSystemProcesses()

let root: string
let path: string
let spool: FolderSpool

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'spool-'))
  path = join(root, 'a', 'meta')
  spool = new FolderSpool({ path, processes })
})

afterAll(() => processes[Symbol.dispose]())

afterEach(async () => {
  await spool[Symbol.asyncDispose]()
  await rm(root, { recursive: true, force: true })
})

function trailerOf(
  index: number,
  start: number,
  end: number,
  previous?: number,
): WalSegmentTrailer {
  return {
    kind: 'wal-segment',
    generation,
    index,
    startOffset: start,
    endOffset: end,
    pageSizeBytes: 512,
    bigEndian: false,
    databaseSizePages: 3,
    salts: { salt1: 1, salt2: 2 },
    checksumBefore: { s0: 0, s1: start },
    checksumAfter: { s0: 0, s1: end },
    captures: [{ endOffset: end, timeMs: 1000 }],
    previousIndexEnd:
      previous === undefined ? undefined : { offset: previous, checksum: { s0: 0, s1: previous } },
    source: undefined,
  }
}

async function add(
  to: Spool,
  trailer: WalSegmentTrailer,
  body = 'a body',
): Promise<SpooledSegment> {
  await using writer = await to.startSegment(
    { index: trailer.index, offset: trailer.startOffset },
    signal,
  )
  await writer.write(Buffer.from(body))
  return await writer.finish(trailer)
}

async function writeLock(holder: Partial<ProcessIdentity> | undefined): Promise<void> {
  await mkdir(path, { recursive: true })
  const content = holder === undefined ? '' : JSON.stringify({ ...processes.self, ...holder })
  await writeFile(join(path, 'lock'), content)
}

async function reopen(): Promise<Awaited<ReturnType<Spool['open']>>> {
  await spool[Symbol.asyncDispose]()
  spool = new FolderSpool({ path, processes })
  return spool.open(signal)
}

async function bytesOf(segment: SpooledSegment): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of spool.read(segment, signal)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const filesOf = (): Promise<string[]> => readdir(join(path, 'spool', generation))

async function begin(): Promise<void> {
  await spool.open(signal)
  await spool.beginGeneration({ generation, identity }, signal)
}

describe('FolderSpool', () => {
  test('is empty at first, then remembers a generation without segments', async () => {
    expect(await spool.open(signal)).toMatchObject({ state: undefined, reason: 'none' })
    await spool.beginGeneration({ generation, identity }, signal)
    expect(await reopen()).toEqual({ state: { generation, identity, segments: [] } })
  })

  test('gives back what was written, in order, over index boundaries', async () => {
    await begin()
    const added = [
      await add(spool, trailerOf(0, 0, 1104)),
      await add(spool, trailerOf(0, 1104, 1640)),
      await add(spool, trailerOf(1, 0, 568, 1640)),
    ]
    expect(await reopen()).toEqual({ state: { generation, identity, segments: added } })
    expect(await bytesOf(added[1]!)).toEqual(
      Buffer.concat([Buffer.from('a body'), formatTrailer(trailerOf(0, 1104, 1640))]),
    )
  })

  test('does not write a trailer twice that was sent as the last bytes', async () => {
    await begin()
    const trailer = trailerOf(0, 0, 1104)
    await using writer = await spool.startSegment({ index: 0, offset: 0 }, signal)
    await writer.write(Buffer.from('a body'))
    await writer.write(formatTrailer(trailer))
    const segment = await writer.finish(trailer)
    expect(segment.sizeBytes).toBe(6 + formatTrailer(trailer).length)
    expect(segment.walBytes).toBe(1104)
  })

  test('leaves nothing of an unfinished or aborted segment', async () => {
    await begin()
    const controller = new AbortController()
    {
      await using writer = await spool.startSegment({ index: 0, offset: 0 }, controller.signal)
      await writer.write(Buffer.from('x'))
      expect(await filesOf()).toHaveLength(1)
    }
    expect(await filesOf()).toEqual([])
    {
      await using writer = await spool.startSegment({ index: 0, offset: 0 }, controller.signal)
      controller.abort()
      await expect(writer.finish(trailerOf(0, 0, 568))).rejects.toMatchObject({
        name: 'AbortError',
      })
    }
    expect(await filesOf()).toEqual([])
  })

  test('a writer that is disposed of while it finishes is finished', async () => {
    await begin()
    const writer = await spool.startSegment({ index: 0, offset: 0 }, signal)
    await writer.write(Buffer.from('a body'))
    const finished = writer.finish(trailerOf(0, 0, 568))
    await writer[Symbol.asyncDispose]()
    expect(await reopen()).toMatchObject({ state: { segments: [await finished] } })
  })

  test('removes leftovers of a crash and folders of other generations', async () => {
    await begin()
    await writeFile(join(path, 'state.json.tmp'), '')
    await writeFile(join(path, 'spool', generation, '00000000_00000000.wal.lz4.1.tmp'), 'half')
    await mkdir(join(path, 'spool', other))
    await reopen()
    expect((await readdir(path)).sort()).toEqual(['lock', 'spool', 'state.json'])
    expect(await readdir(join(path, 'spool'))).toEqual([generation])
    expect(await filesOf()).toEqual([])
  })

  test('keeps only the run at the end that tiles', async () => {
    await begin()
    await add(spool, trailerOf(0, 0, 1104))
    await add(spool, trailerOf(0, 1640, 2176))
    const kept = [
      await add(spool, trailerOf(2, 0, 568, 99_999)),
      await add(spool, trailerOf(2, 568, 1104)),
    ]
    expect(await reopen()).toMatchObject({ state: { segments: kept } })
    expect(await filesOf()).toHaveLength(2)
  })

  test('is unreadable when the last segment or the state is damaged', async () => {
    await begin()
    await add(spool, trailerOf(0, 0, 1104))
    await add(spool, trailerOf(0, 1104, 1640))
    const last = join(path, 'spool', generation, '00000000_00000450.wal.lz4')
    const bytes = await readFile(last)
    bytes[12] = (bytes[12] ?? 0) ^ 1
    await writeFile(last, bytes)
    expect(await reopen()).toMatchObject({ state: undefined, reason: 'unreadable' })
    await writeFile(last, '')
    expect(await reopen()).toMatchObject({ state: undefined, reason: 'unreadable' })
    await writeFile(join(path, 'state.json'), '{"version":1')
    expect(await reopen()).toMatchObject({ state: undefined, reason: 'unreadable' })
  })

  test('a damaged segment before the last only cuts the run', async () => {
    await begin()
    await add(spool, trailerOf(0, 0, 1104))
    const last = await add(spool, trailerOf(0, 1104, 1640))
    await writeFile(join(path, 'spool', generation, '00000000_00000000.wal.lz4'), 'x')
    expect(await reopen()).toMatchObject({ state: { segments: [last] } })
  })

  test('replaces parts by the merged segment, next to a writer at the same position', async () => {
    await begin()
    const parts = [
      await add(spool, trailerOf(0, 0, 1104), 'body a'),
      await add(spool, trailerOf(0, 1104, 1640), 'body b'),
    ]
    const last = await add(spool, trailerOf(0, 1640, 2176))
    await using writer = await spool.startSegment({ index: 0, offset: 0 }, signal)
    await using twin = await spool.startSegment({ index: 0, offset: 0 }, signal)
    await twin.write(Buffer.from('the other one'))
    await writer.write(Buffer.from('merged segment'))
    const merged = await spool.replace({ parts, writer, trailer: trailerOf(0, 0, 1640) }, signal)
    await twin[Symbol.asyncDispose]()
    expect((await bytesOf(merged)).subarray(0, 6).toString()).toBe('merged')
    await expect(bytesOf(parts[0]!)).rejects.toThrow(LocalStateError)
    expect(await reopen()).toMatchObject({ state: { segments: [merged, last] } })
  })

  test('drops parts that a merged segment covers after a crash between the two steps', async () => {
    await begin()
    await add(spool, trailerOf(0, 0, 568), 'body a')
    await add(spool, trailerOf(0, 568, 1104), 'body b')
    await add(spool, trailerOf(0, 1104, 1640), 'body c')
    const last = await add(spool, trailerOf(0, 1640, 2176))
    const merged = await add(spool, trailerOf(0, 0, 1640), 'body abc')
    expect(await reopen()).toMatchObject({ state: { segments: [merged, last] } })
    expect(await filesOf()).toHaveLength(2)
  })

  test('drops covered parts at the very end', async () => {
    await begin()
    await add(spool, trailerOf(0, 0, 568), 'body a')
    await add(spool, trailerOf(0, 568, 1104), 'body b')
    const merged = await add(spool, trailerOf(0, 0, 1104), 'body ab')
    expect(await reopen()).toMatchObject({ state: { segments: [merged] } })
    expect(await filesOf()).toHaveLength(1)
  })

  test('removes segments, absent ones too', async () => {
    await begin()
    const first = await add(spool, trailerOf(0, 0, 568))
    const second = await add(spool, trailerOf(0, 568, 1104))
    await spool.remove([first], signal)
    await spool.remove([first], signal)
    expect(await reopen()).toMatchObject({ state: { segments: [second] } })
  })

  test('a new generation replaces the old one', async () => {
    await begin()
    await add(spool, trailerOf(0, 0, 568))
    await spool.beginGeneration({ generation: other, identity }, signal)
    expect(await readdir(join(path, 'spool'))).toEqual([other])
    expect(await reopen()).toEqual({ state: { generation: other, identity, segments: [] } })
  })

  test('is refused while somebody holds it and free after dispose', async () => {
    await spool.open(signal)
    const second = new FolderSpool({ path, processes })
    await expect(second.open(signal)).rejects.toThrow(`process ${process.pid}`)
    await spool[Symbol.asyncDispose]()
    await second.open(signal)
    await second[Symbol.asyncDispose]()
  })

  describe.skipIf(process.platform !== 'linux')(
    'beside a process that has a lock of the kernel’s',
    () => {
      let child: ChildProcess
      let held: string

      beforeEach(async () => {
        const script = `const db = new (require('better-sqlite3'))(process.argv[1])
        db.exec('BEGIN EXCLUSIVE'); process.send('held'); setTimeout(() => db.close(), 60_000)`
        child = spawn(process.execPath, ['-e', script, join(root, 'held')], {
          stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        })
        await once(child, 'message')
        const locks = [...parseLocks(await readFile('/proc/locks', 'utf8')).values()].flat()
        held = locks.find(({ pid }) => pid === child.pid)?.file ?? ''
      })

      afterEach(async () => {
        const exited = once(child, 'exit')
        child.kill('SIGKILL')
        await exited
      })

      test('is refused while the lock says that it is that one’s', async () => {
        await writeLock({ pid: child.pid!, startTicks: '', lock: held })
        await expect(spool.open(signal)).rejects.toMatchObject({
          name: 'InUseError',
          message: expect.stringContaining(
            `process ${child.pid!} on ${processes.self.host}`,
          ) as string,
        })
      })

      test.each([
        ['without a lock', ''],
        ['with a lock that it has not', 'fe:00:1'],
      ])('takes over the lock of a process that lives, %s', async (_, lock) => {
        await writeLock({ pid: child.pid!, startTicks: '', lock })
        await spool.open(signal)
        expect(await readFile(join(path, 'lock'), 'utf8')).toContain(`"pid":${process.pid},`)
      })
    },
  )

  test.each([
    ['a dead process', { pid: 999_999_999 }],
    ['another process of the same number', { startTicks: '1' }],
    ['a process from before the machine was started anew', { boot: 'another' }],
    ['a container that is gone', { pidNamespace: 'pid:[1]', isContained: true }],
    ['nobody', undefined],
  ])('takes over the lock of %s', async (_, holder) => {
    await writeLock(holder)
    await spool.open(signal)
    expect(await readFile(join(path, 'lock'), 'utf8')).toContain(`"pid":${process.pid},`)
    expect((await readdir(path)).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  test('errors of the file system name the path', async () => {
    await writeFile(join(root, 'a'), 'a file where a folder should be')
    await expect(spool.open(signal)).rejects.toMatchObject({
      name: 'LocalStateError',
      message: expect.stringContaining(path) as string,
    })
  })

  test.skipIf(process.platform !== 'linux')(
    'a folder in which nothing can be created is an error, not an endless attempt',
    async () => {
      const unmakeable = new FolderSpool({ processes, path: '/proc/tsreplicate/meta' })
      await expect(unmakeable.open(signal)).rejects.toMatchObject({
        name: 'LocalStateError',
        message: expect.stringContaining('/proc/tsreplicate/meta') as string,
      })
    },
  )
})
