/** Which map there is after a loss: one that says nothing wrong of any page, or none; and that it comes back. */
import { mkdtempSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SegmentPages } from '../../../../src/domain/pages/segment-pages.js'
import { type WalSegmentTrailer } from '../../../../src/domain/stored/trailer.js'
import { parseGeneration } from '../../../../src/domain/wal/generation.js'
import { type WalPosition } from '../../../../src/domain/wal/position.js'
import { frameBytes, walHeaderBytes } from '../../../../src/domain/wal/wal-format.js'
import { digestParts, FolderPageMap } from '../../../../src/infrastructure/spool/folder-page-map.js'
import { KeepPageMap } from '../../../../src/usecase/capture/keep-page-map.js'
import { type Spool, type SpooledSegment } from '../../../../src/usecase/ports/spool.js'
import { silent } from '../../../support/silent-logger.ts'

const pageSizeBytes = 512
const generation = parseGeneration('00112233445566aa')!
const of = { generation, pageSizeBytes }

let folder: string
let stored: Map<SpooledSegment, Uint8Array>
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsreplicate-map-'))
  stored = new Map()
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const log = (): string => join(folder, 'spool', generation, 'pages.log')

/** Another process. */
function keeper(): KeepPageMap {
  const spool: Pick<Spool, 'read'> = {
    async *read(segment) {
      yield stored.get(segment)!
      await Promise.resolve()
    },
  }
  return new KeepPageMap({
    store: new FolderPageMap({ path: folder }),
    spool: spool as Spool,
    decode: (source) => source,
    digestPage: digestParts,
    logger: silent,
  })
}

function contentOf(version: number): Uint8Array {
  const bytes = new Uint8Array(pageSizeBytes)
  new DataView(bytes.buffer).setUint32(8, version)
  return bytes
}

const checksumOf = ({ index, offset }: WalPosition): { s0: number; s1: number } => ({
  s0: index + 1,
  s1: offset,
})

/** A segment that begins at a place and commits these pages, in this version, of a database of three. */
function segment(
  start: WalPosition,
  pages: readonly number[],
  version: number,
  before?: WalPosition,
): SpooledSegment {
  const head = start.offset === 0 ? walHeaderBytes : 0
  const bytes = new Uint8Array(head + pages.length * frameBytes(pageSizeBytes))
  const data = new DataView(bytes.buffer)
  pages.forEach((page, i) => {
    const at = head + i * frameBytes(pageSizeBytes)
    data.setUint32(at, page)
    if (i === pages.length - 1) data.setUint32(at + 4, 3)
    bytes.set(contentOf(version), at + 24)
  })
  const endOffset = start.offset + bytes.length
  const trailer = {
    pageSizeBytes,
    checksumBefore: checksumOf(start),
    checksumAfter: checksumOf({ index: start.index, offset: endOffset }),
    previousIndexEnd: before && { offset: before.offset, checksum: checksumOf(before) },
  } as WalSegmentTrailer
  const made = {
    generation,
    ...{ index: start.index, startOffset: start.offset, endOffset },
    ...{ sizeBytes: bytes.length, walBytes: bytes.length, trailer },
  }
  stored.set(made, bytes)
  return made
}

const endOf = ({ index, endOffset }: SpooledSegment): WalPosition => ({ index, offset: endOffset })

function seal(map: KeepPageMap, made: SpooledSegment): void {
  const pages = map.gather({ index: made.index, offset: made.startOffset })
  pages?.add(stored.get(made)!, { pageSizeBytes, hasHeader: made.startOffset === 0 })
  map.sealed(made, pages)
}

/** A snapshot reads all pages in this version. */
async function read(map: KeepPageMap, from: WalPosition, upTo = from, version = 1): Promise<void> {
  await using digests = map.startSnapshot(from)
  for (let page = 1; page <= 3; page += 1) await digests?.add(contentOf(version))
  await digests?.keep(upTo)
}

/** Which of the pages in that version differ from the chain behind a segment; undefined: that is not known. */
async function differing(
  map: KeepPageMap,
  last: SpooledSegment | undefined,
  version: number,
): Promise<readonly number[] | undefined> {
  const place = last && { position: endOf(last), checksum: last.trailer.checksumAfter }
  await using comparison = await map.compare(place)
  const file = Buffer.concat([1, 2, 3].map(() => contentOf(version)))
  return await comparison?.differing(1, file)
}

const beginning = { index: 0, offset: 0 }

describe('a page map that lost the end of its log', () => {
  async function whole(): Promise<SpooledSegment> {
    const map = keeper()
    map.begin(of)
    await read(map, beginning)
    const first = segment(beginning, [1], 2)
    seal(map, first)
    expect(await differing(map, first, 1)).toEqual([1])
    return first
  }

  test('goes on with what the spool still has of it', async () => {
    const first = await whole()
    truncateSync(log(), 20)
    const map = keeper()
    await map.resume(of, [first])
    expect(await differing(map, first, 1)).toEqual([1])
  })

  test.each([
    ['a whole index', { index: 2, offset: 0 }, { index: 1, offset: 90 }],
    ['the end of an index', { index: 1, offset: 0 }, { index: 0, offset: 9000 }],
    ['a segment of the same index', { index: 0, offset: 9000 }, undefined],
  ])(
    'of which the spool lacks %s says nothing of any page, and is whole again after the next snapshot',
    async (_, start, before) => {
      await whole()
      // What lies between has changed page 2: the map would take its first version for the newest.
      const last = segment(start, [3], 3, before)
      const map = keeper()
      await map.resume(of, [last])
      expect(await differing(map, last, 1)).toBeUndefined()
      await read(map, endOf(last), endOf(last), 3)
      const begins = start.offset === 0
      expect(await differing(map, last, 3)).toEqual(begins ? [] : undefined)
      const next = segment({ index: last.index + 1, offset: 0 }, [1], 4, endOf(last))
      seal(map, next)
      await read(map, endOf(next), endOf(next), 3)
      expect(await differing(map, next, 3)).toEqual([1])
      expect(await differing(map, next, 4)).toEqual([2, 3])
    },
  )
})

test('a snapshot that was begun in front of a map that has begun anew says nothing of it', async () => {
  const map = keeper()
  const first = segment(beginning, [1], 2)
  // Nothing is known of what was captured in front of it.
  await map.resume(of, [segment({ index: 0, offset: 9000 }, [1], 2)])
  const next = segment({ index: 1, offset: 0 }, [2], 3, { index: 0, offset: 10_000 })
  const digests = map.startSnapshot(endOf(first))
  for (let page = 1; page <= 3; page += 1) await digests?.add(contentOf(1))
  seal(map, next)
  await digests?.keep(endOf(next))
  await digests?.[Symbol.asyncDispose]()
  expect(await differing(map, next, 1)).toBeUndefined()
  await read(map, endOf(next), endOf(next), 1)
  expect(await differing(map, next, 1)).toEqual([2])
})

test('what was never noted is no map, and one of a generation without a commit is at its beginning', async () => {
  const map = keeper()
  map.begin(of)
  await read(map, beginning)
  const again = keeper()
  await again.resume(of, [])
  expect(await differing(again, undefined, 1)).toEqual([])
  expect(await differing(again, segment(beginning, [1], 2), 1)).toBeUndefined()
  const pages = new SegmentPages(digestParts)
  again.sealed(segment({ index: 0, offset: 9000 }, [1], 2), pages)
  expect(await differing(again, undefined, 1)).toBeUndefined()
})
