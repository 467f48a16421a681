import { execFileSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createFile, replaceFile } from '../../../../src/infrastructure/files/durable-files.ts'
import {
  openRegularFile,
  readSmallFile,
  readSmallFileIfThere,
  type UnfitFileError,
} from '../../../../src/infrastructure/files/regular-files.ts'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsreplicate-files-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const at = (name: string): string => join(folder, name)

describe('a file that is read', () => {
  test('is read whole', async () => {
    writeFileSync(at('state.json'), 'text')
    expect(await readSmallFile(at('state.json'))).toBe('text')
    expect(await readSmallFileIfThere(at('none'))).toBeUndefined()
  })

  test.each<[string, (path: string) => void, UnfitFileError['code']]>([
    ['a FIFO', (path) => execFileSync('mkfifo', [path]), 'NOT_REGULAR'],
    ['a folder', (path) => mkdirSync(path), 'NOT_REGULAR'],
    ['a link', (path) => symlinkSync('/etc/passwd', path), 'LINK'],
    ['a link to nothing', (path) => symlinkSync('nothing', path), 'LINK'],
  ])('is not read, nor waited for, when it is %s', async (_, make, code) => {
    make(at('it'))
    await expect(openRegularFile(at('it'))).rejects.toMatchObject({ code })
    await expect(readSmallFileIfThere(at('it'))).rejects.toMatchObject({ code })
  })

  test('is not read when it is larger than any such file can be', async () => {
    writeFileSync(at('it'), '')
    truncateSync(at('it'), 4 * 1024 ** 4)
    await expect(readSmallFile(at('it'))).rejects.toMatchObject({ code: 'TOO_LARGE' })
  })
})

describe('a file that is made', () => {
  test('takes the place of a link, and leaves alone what that leads to', async () => {
    writeFileSync(at('secret'), 'of somebody else')
    symlinkSync(at('secret'), at('state.json'))
    // The name that temporary files had.
    symlinkSync(at('secret'), at('state.json.tmp'))
    await replaceFile(at('state.json'), Buffer.from('ours'))
    expect(readFileSync(at('secret'), 'utf8')).toBe('of somebody else')
    expect(lstatSync(at('state.json')).isFile()).toBe(true)
    expect(readFileSync(at('state.json'), 'utf8')).toBe('ours')
    expect(lstatSync(at('state.json')).mode & 0o777).toBe(0o600)
    expect(readdirSync(folder).toSorted()).toEqual(['secret', 'state.json', 'state.json.tmp'])
  })

  test('is new: what is there under its name is not opened', async () => {
    symlinkSync(at('elsewhere'), at('it'))
    await expect(createFile(at('it'))).rejects.toMatchObject({ code: 'EEXIST' })
    expect(existsSync(at('elsewhere'))).toBe(false)
  })
})
