import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { watchForStuck } from '../../../../src/infrastructure/sqlite/stuck-process.js'
import { nothing } from '../../../../src/infrastructure/sqlite/under-way.js'

let folder: string
let child: ChildProcess | undefined
let underWay: number

beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), 'tsreplicate-'))
  underWay = fs.openSync(join(folder, 'under-way'), 'w+')
})

afterEach(() => {
  child?.kill('SIGKILL')
  fs.closeSync(underWay)
  fs.rmSync(folder, { recursive: true })
})

/** What is said of a process that works on a database, in 60 looks of which 30 are enough. */
async function watched(script: string, database = 7): Promise<string> {
  fs.writeSync(underWay, new Int32Array([database]), 0, 4, 0)
  child = spawn('sh', ['-c', script], { cwd: folder, stdio: 'ignore' })
  const { promise, resolve } = Promise.withResolvers<string>()
  using _watch = watchForStuck({ pid: child.pid!, underWay }, (why) => resolve(why.message), {
    everyMs: 20,
  })
  setTimeout(() => resolve('it gets on'), 60 * 20)
  return await promise
}

test('a process that waits for a FIFO is stuck', async () => {
  execFileSync('mkfifo', [join(folder, 'fifo')])
  expect(await watched('exec cat fifo')).toBe('it neither read nor wrote for 0.6 s')
})

test('one that reads is not', async () => {
  expect(await watched('while :; do read line < under-way; done')).toBe('it gets on')
})

test('one that works on nothing is not', async () => {
  expect(await watched('exec sleep 100', nothing)).toBe('it gets on')
})
