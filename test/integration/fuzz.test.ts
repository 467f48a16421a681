/** A tenth of `npm run test:fuzz`. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { cleanUp, temporaryFolder } from '../support/cli.ts'
import { fuzz } from '../support/fuzzed.ts'

afterAll(() => cleanUp())

describe('damaged at random', () => {
  test('replicas are restored to one of their commits, or refused', () => fuzz('replica', 300))
  test('WALs yield only frames that were in them', () => fuzz('wal', 600))
  test('trailers are read as what they say, or not', () => fuzz('trailer', 2000))
  test('configurations are read, or refused with what is wrong', () => fuzz('config', 200))
})

test('the seed of a case that fails, hangs or ends the process is said and kept, and runs before all others from then on', async () => {
  const folder = temporaryFolder()
  const [script, keptPath] = [join(folder, 'cases.mjs'), join(folder, 'kept.json')]
  writeFileSync(keptPath, '{"replica":[],"wal":[],"trailer":[],"config":[]}')
  writeFileSync(
    script,
    `import { appendFileSync, writeSync } from 'node:fs'
     const say = (line) => writeSync(3, JSON.stringify(line) + '\\n')
     const [, , kind, first, count] = process.argv
     for (let seed = Number(first); seed < Number(first) + Number(count); seed += 1) {
       appendFileSync(${JSON.stringify(join(folder, 'ran'))}, kind + seed + ' ')
       say({ seed })
       if (kind === 'wal' && seed === 2) say({ seed, problem: 'it is wrong' })
       if (kind === 'trailer' && seed === 3) process.exit(9)
     }
     say({ maxMebibytes: 1, isFolderLeft: false })`,
  )
  const place = { script, keptPath }
  await expect(fuzz('wal', 3, place)).rejects.toThrow(/wal 2: it is wrong/)
  await expect(fuzz('trailer', 4, place)).rejects.toThrow(/trailer 3: the process ended/)
  const kept = { replica: [], wal: [2], trailer: [3], config: [] }
  expect(JSON.parse(readFileSync(keptPath, 'utf8'))).toEqual(kept)
  await expect(fuzz('wal', 3, place)).rejects.toThrow(/wal 2/)
  expect(readFileSync(join(folder, 'ran'), 'utf8')).toMatch(/ wal2 $/)
  expect(JSON.parse(readFileSync(keptPath, 'utf8'))).toEqual(kept)
})
