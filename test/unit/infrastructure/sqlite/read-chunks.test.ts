import { randomBytes } from 'node:crypto'
import { constants, mkdtempSync, rmSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import {
  isMostlyHoles,
  pastCacheFlag,
  readChunks,
} from '../../../../src/infrastructure/sqlite/read-chunks.ts'
import { never } from '../../../../src/kit/abort.ts'

const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-chunks-'))
afterAll(() => rmSync(folder, { recursive: true }))

const chunkBytes = 256 * 1024
const sizeBytes = 256 * 1024 * 1024 + 1536
const written = [0, 70_000, 100 * 1024 * 1024 - 100, sizeBytes - 1000]
const path = join(folder, 'holes.db')
const content = written.map((offset) => ({ offset, bytes: randomBytes(1000) }))

async function make(): Promise<FileHandle> {
  const file = await open(path, 'w+')
  await file.truncate(sizeBytes)
  for (const { offset, bytes } of content) await file.write(bytes, 0, bytes.length, offset)
  return file
}

describe('a file that is mostly holes', () => {
  // Not every file system can be read past the cache: then the second of them reads as usual.
  test.each<[string, number | undefined]>([
    ['as usual', undefined],
    ['past the cache', pastCacheFlag],
    ['by a descriptor that cannot read it', constants.O_WRONLY],
  ])('is read whole %s, what was written just now, too', async (_, flag) => {
    await using file = await make()
    expect(isMostlyHoles(await file.stat())).toBe(true)
    const other = flag === undefined ? undefined : await open(path, flag).catch(() => undefined)
    const expected = Buffer.alloc(chunkBytes)
    let at = 0
    const wrong: number[] = []
    for await (const chunk of readChunks(file, { pastCache: other, chunkBytes, signal: never })) {
      expected.fill(0)
      for (const { offset, bytes } of content) {
        if (offset + bytes.length > at && offset < at + chunkBytes) {
          bytes.copy(expected, Math.max(0, offset - at), Math.max(0, at - offset))
        }
      }
      if (Buffer.compare(chunk, expected.subarray(0, chunk.length)) !== 0) wrong.push(at)
      at += chunk.length
    }
    await other?.close()
    expect({ wrong, at }).toEqual({ wrong: [], at: sizeBytes })
  })
})

test('a file that is small, or packed by its file system, or of which none is known, is read as usual', () => {
  const gibibyte = 1024 ** 3
  expect(isMostlyHoles({ size: gibibyte, blocks: 1000 })).toBe(true)
  expect(isMostlyHoles({ size: gibibyte, blocks: gibibyte / 512 / 4 })).toBe(false)
  expect(isMostlyHoles({ size: 1024 * 1024, blocks: 8 })).toBe(false)
  expect(isMostlyHoles({ size: gibibyte, blocks: 0 })).toBe(false)
})
