/**
 * The page map against a model: random histories of frames, cuts of the database, snapshots read while it changes, logs put
 * into the map, processes that die and logs that are torn. What the map says of a page is what the chain makes of it, or
 * it says nothing; and a map that has lost something knows that.
 */
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { digestBytes, SegmentPages } from '../../../../src/domain/pages/segment-pages.js'
import { isKnown } from '../../../../src/domain/pages/page-map.js'
import { parseGeneration } from '../../../../src/domain/wal/generation.js'
import { frameBytes, walHeaderBytes } from '../../../../src/domain/wal/wal-format.js'
import { digestParts, FolderPageMap } from '../../../../src/infrastructure/spool/folder-page-map.js'
import { mapAtOnce } from '../../../../src/kit/map-at-once.js'
import { seeded } from '../../../support/random.ts'

const pageSizeBytes = 512
const stepBytes = frameBytes(pageSizeBytes)
const generation = parseGeneration('00112233445566aa')!
const of = { generation, pageSizeBytes }
const beginning = { position: { index: 0, offset: 0 }, checksum: { s0: 0, s1: 0 } }

let folder: string
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'tsreplicate-map-'))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** A page's content is a number. */
function contentOf(version: number): Uint8Array {
  const bytes = new Uint8Array(pageSizeBytes)
  new DataView(bytes.buffer).setUint32(8, version)
  return bytes
}

const digestOf = (version: number): string => hex(digestParts(contentOf(version)))
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

type Frame = readonly [page: number, version: number, sizePages: number]

function framesOf(frames: readonly Frame[], hasHeader: boolean): Uint8Array {
  const head = hasHeader ? walHeaderBytes : 0
  const bytes = new Uint8Array(head + frames.length * stepBytes)
  const data = new DataView(bytes.buffer)
  frames.forEach(([page, version, sizePages], i) => {
    const at = head + i * stepBytes
    data.setUint32(at, page)
    data.setUint32(at + 4, sizePages)
    bytes.set(contentOf(version), at + 24)
  })
  return bytes
}

/** The database as SQLite sees it, its file, and what of a page the chain says: undefined where nobody may rely on it. */
class Model {
  sizePages = 3
  /** By page; what is not there has never been written since the database was longer. */
  chain = new Map<number, number>()
  /** As a checkpoint left it: some page of it may be older than the chain, where a frame has the newer one. */
  file = new Map<number, number>()
  versions = 0

  constructor() {
    for (let page = 1; page <= this.sizePages; page += 1) this.#write(page)
    this.copyBack()
  }

  #write(page: number): number {
    this.versions += 1
    this.chain.set(page, this.versions)
    return this.versions
  }

  copyBack(): void {
    this.file = new Map(this.chain)
  }

  transaction(random: () => number): Frame[] {
    const grows = random() < 0.3 ? Math.floor(random() * 6) : 0
    const shrinks = random() < 0.15 ? Math.floor(random() * this.sizePages) : 0
    const sizePages = Math.max(1, this.sizePages + grows - shrinks)
    const pages = new Set<number>([1])
    for (let i = 0; i < 4; i += 1) pages.add(1 + Math.floor(random() * sizePages))
    // Of the new pages, some are never written: leaves of the free list.
    for (let page = this.sizePages + 1; page <= sizePages; page += 1) {
      if (random() < 0.7) pages.add(page)
    }
    const frames = [...pages].map((page): Frame => {
      // Now and then a page is what it was before.
      const before = this.chain.get(page)
      const version =
        before !== undefined && before > 1 && random() < 0.2 ? before - 1 : this.#write(page)
      this.chain.set(page, version)
      return [page, version, 0]
    })
    this.sizePages = sizePages
    for (const page of [...this.chain.keys()]) if (page > sizePages) this.chain.delete(page)
    const last = frames.at(-1)!
    return [...frames.slice(0, -1), [last[0], last[1], sizePages]]
  }
}

const seeds = Number(process.env.TSREPLICATE_PAGE_MAP_HISTORIES ?? 60)
const firstSeed = Number(process.env.TSREPLICATE_SEED ?? 1)

describe('a page map', () => {
  test(
    `says of each page what the chain makes of it, or nothing (${seeds} random histories)`,
    { timeout: 60_000 + seeds * 200 },
    async () => {
      let compared = 0
      let known = 0
      let lost = 0
      const histories = Array.from({ length: seeds }, (_, i) => firstSeed + i)
      await mapAtOnce(histories, 8, async (seed) => {
        const path = join(folder, String(seed))
        const found = await history(seed, path)
        rmSync(path, { recursive: true })
        compared += found.compared
        known += found.known
        lost += found.lost
      })
      // It would say nothing wrong either if it said nothing.
      expect(known / compared).toBeGreaterThan(0.8)
      expect(lost).toBeGreaterThan(0)
    },
  )

  test('is nobody else’s to read', async () => {
    const map = new FolderPageMap({ path: folder })
    await map.begin(of, beginning)
    const files = join(folder, 'spool', generation)
    for (const name of readdirSync(files))
      expect(statSync(join(files, name)).mode & 0o777).toBe(0o600)
  })

  test('of which a byte has changed is not believed', async () => {
    const map = new FolderPageMap({ path: folder })
    await map.begin(of, beginning)
    await map.open(of)
    const body = await map.startBody()
    await body.add(Buffer.concat([1, 2, 3].map((version) => digestParts(contentOf(version)))))
    await body.keep()
    await body[Symbol.asyncDispose]()
    const path = join(folder, 'spool', generation, 'pages.map')
    const bytes = readFileSync(path)
    for (const at of [0, 20, 44, 70, bytes.length - 1]) {
      const damaged = Buffer.from(bytes)
      damaged[at] = damaged[at]! ^ 1
      writeFileSync(path, damaged)
      const again = new FolderPageMap({ path: folder })
      const opened = await again.open(of)
      if (opened !== undefined) await expect(again.openReader()).rejects.toThrow(/damaged/)
    }
  })
})

async function history(
  seed: number,
  path: string,
): Promise<{ compared: number; known: number; lost: number }> {
  mkdirSync(path)
  const random = seeded(seed)
  const model = new Model()
  const log = join(path, 'spool', generation, 'pages.log')
  const options = { path, maxLogBytes: random() < 0.5 ? 400 : 100_000 }
  let map = new FolderPageMap(options)
  await map.begin(of, beginning)
  await map.open(of)
  let position = { index: 0, offset: 0 }
  let checksum = beginning.checksum
  let isWhole = false
  const found = { compared: 0, known: 0, lost: 0 }

  const segment = async (): Promise<void> => {
    const begins = position.offset === 0 || random() < 0.2
    const index = begins && position.offset > 0 ? position.index + 1 : position.index
    const start = begins ? { index, offset: 0 } : position
    const pages = new SegmentPages(digestParts)
    let offset = start.offset
    for (let runs = 0; runs <= random() * 3; runs += 1) {
      const hasHeader = offset === 0
      // A run may end within a transaction: then another one follows.
      const frames = Array.from({ length: 1 + Math.floor(random() * 3) }, () =>
        model.transaction(random),
      ).flat()
      const cut = Math.floor(random() * frames.length)
      for (const part of [frames.slice(0, cut), frames.slice(cut)]) {
        if (part.length === 0) continue
        const bytes = framesOf(part, hasHeader && offset === 0)
        pages.add(bytes, { pageSizeBytes, hasHeader: hasHeader && offset === 0 })
        offset += bytes.length
      }
      if (random() < 0.4) model.copyBack()
    }
    const end = { index: start.index, offset }
    checksum = { s0: model.versions, s1: 7 }
    await map.append({ from: position, position: end, checksum, changes: pages.changes })
    position = end
  }

  /** Reads the file while the application writes: old pages and new ones, and torn ones, where a frame has them. */
  const snapshot = async (): Promise<void> => {
    const body = await map.startBody()
    const digests: Uint8Array[] = []
    const written = new Map(model.chain)
    for (let page = 1; page <= 40; page += 1) {
      if (random() < 0.05) await segment()
      const length = Math.max(0, ...model.file.keys())
      if (page > length) break
      const isChanged = model.chain.get(page) !== written.get(page)
      const version = isChanged && random() < 0.3 ? 0xdead : (model.file.get(page) ?? 0)
      digests.push(digestParts(contentOf(version)))
    }
    await body.add(Buffer.concat(digests))
    if (random() < 0.8) {
      await body.keep()
      isWhole = true
    }
    await body[Symbol.asyncDispose]()
  }

  const compare = async (): Promise<void> => {
    const reader = await map.openReader()
    const digests = await reader.read(1, 50)
    await reader[Symbol.asyncDispose]()
    if (position.offset > 0) expect(reader.sizePages, `seed ${seed}`).toBe(model.sizePages)
    for (let page = 1; page <= 50; page += 1) {
      const digest = digests.subarray((page - 1) * digestBytes, page * digestBytes)
      const version = model.chain.get(page)
      if (version !== undefined && isWhole) found.compared += 1
      if (!isKnown(digest)) continue
      if (version !== undefined && isWhole) found.known += 1
      // One that was never written, and that a snapshot has as the file has it, is the only other that may be known.
      if (hex(digest) !== digestOf(version ?? 0))
        expect.fail(`seed ${seed}: page ${page} is another`)
    }
  }

  for (let step = 0; step < 25; step += 1) {
    const act = random()
    if (act < 0.55) await segment()
    else if (act < 0.7) await snapshot()
    else if (act < 0.9) {
      // Another process, after a power cut perhaps, which takes the end of the log.
      const size = statSync(log).size
      const isTorn = random() < 0.3
      if (isTorn) truncateSync(log, Math.floor(random() * size))
      else if (random() < 0.3)
        writeFileSync(log, Buffer.concat([readFileSync(log), Buffer.alloc(30, 7)]))
      map = new FolderPageMap(options)
      const opened = await map.open(of)
      const end = opened?.end.position
      if (end?.index !== position.index || end.offset !== position.offset) {
        found.lost += 1
        return found
      }
      expect(opened?.end.checksum, `seed ${seed}`).toEqual(checksum)
      isWhole = opened?.isWhole ?? false
    }
    await compare()
  }
  return found
}
