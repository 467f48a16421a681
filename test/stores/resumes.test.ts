/**
 * Uploads, counted, when daemons and applications end and come back, with a page map, on a folder and on MinIO:
 * `npm run test:resumes`. `TSREPLICATE_RESUMES_MB`, `_RATE`, `_ROUNDS` and `_DOWN` (seconds) say how large and how often;
 * `_MAP=0` counts what it costs without one.
 */
import { join } from 'node:path'
import { afterEach, describe, expect, inject, test } from 'vitest'
import { cleanUp, temporaryFolder } from '../support/cli.js'
import { ResumedUploads, rounds } from '../support/resumed-uploads.js'
import { placesOf } from '../support/stores/places.js'

afterEach(() => cleanUp())

const setting = (name: string, usual: number): number =>
  Number(process.env[`TSREPLICATE_RESUMES_${name}`] ?? usual)
const megabytes = setting('MB', 8)
const rate = setting('RATE', 30)
const roundCount = setting('ROUNDS', 1)
const downSeconds = setting('DOWN', 2)
const hasPageMap = setting('MAP', 1) === 1
const pageBytes = 4096
/** One of them, unless more rounds are asked for. */
const scenes = Object.entries(rounds).filter(
  ([what]) => roundCount > 1 || what === 'both, the daemon first',
)

const minio = placesOf(inject('stores')).MinIO
const isThere = minio !== undefined && !('unavailable' in minio)
if (!isThere) test.skip('MinIO is not reached', () => undefined)

const places = [
  { name: 'a folder', replica: () => ({ path: join(temporaryFolder(), 'replica') }), env: {} },
  ...(isThere
    ? [
        {
          name: 'MinIO',
          replica: () => minio.replica(`resumes-${Date.now()}`),
          env: minio.env,
        },
      ]
    : []),
]

describe.each(places)('on $name', ({ name, replica, env }) => {
  test.each(scenes)(
    '%s: what changed is stored, and no snapshot',
    { timeout: 600_000 + roundCount * 120_000 + megabytes * 2000 },
    async (what, act) => {
      const options = { megabytes, rate, hasPageMap, downSeconds }
      const uploads = new ResumedUploads({
        ...options,
        ...{ folder: temporaryFolder(), replica: replica(), env },
      })
      await uploads.begin()
      const all = []
      for (let round = 0; round < roundCount; round += 1) all.push(await uploads.round(act))
      await uploads.end()
      console.log(
        `${name}, ${megabytes} MB, ${rate}/s, page map ${hasPageMap ? 'on' : 'off'}, ${what}: ` +
          all
            .map(
              ({ how, changedPages, storedBytes, snapshots }) =>
                `${how} ${changedPages} pages ${Math.round(storedBytes / 1000)} KB${snapshots > 0 ? `, ${snapshots} snapshot` : ''}`,
            )
            .join('; '),
      )
      if (!hasPageMap) return
      for (const { changedPages, storedBytes, snapshots } of all) {
        expect(snapshots).toBe(0)
        expect(storedBytes).toBeLessThanOrEqual(1.2 * changedPages * pageBytes + 100_000)
      }
    },
  )
})
