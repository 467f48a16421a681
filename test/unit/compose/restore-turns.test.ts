import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { RestoreTurns } from '../../../src/compose/restore-turns.ts'

let root = ''
let turns = new RestoreTurns()

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'restore-turns-'))
  turns = new RestoreTurns()
})

afterEach(() => {
  turns[Symbol.dispose]()
  rmSync(root, { recursive: true })
})

test('one has its turn at a time, and the folders that were made for it go with it', async () => {
  const path = join(root, 'of/tenants/app.db')
  const turn = await turns.tryTurn(path)
  await expect(turns.tryTurn(path)).rejects.toMatchObject({ code: 'IN_USE' })
  expect(existsSync(dirname(path))).toBe(true)
  await turn?.[Symbol.asyncDispose]()
  expect(readdirSync(root)).toEqual([])

  const next = await turns.tryTurn(path)
  writeFileSync(path, 'restored')
  await next?.[Symbol.asyncDispose]()
  expect(readdirSync(dirname(path))).toEqual(['app.db'])
})

test('where no lock can be written there is no turn, and no folder that was made for it', async () => {
  mkdirSync(join(root, 'of'))
  const tooLong = 'x'.repeat(250)
  expect(await turns.tryTurn(join(root, 'of/tenants/all', tooLong))).toBeUndefined()
  expect(readdirSync(join(root, 'of'))).toEqual([])
})

test('all locks of a process name it in the same way, however many there are', async () => {
  const one = await turns.tryTurn(join(root, 'one.db'))
  const other = await turns.tryTurn(join(root, 'other.db'))
  const [first, second] = readdirSync(root).map((name) => readFileSync(join(root, name), 'utf8'))
  expect(first).toContain(`"pid":${process.pid}`)
  expect(second).toBe(first)
  await one?.[Symbol.asyncDispose]()
  await other?.[Symbol.asyncDispose]()
  expect(readdirSync(root)).toEqual([])
})
