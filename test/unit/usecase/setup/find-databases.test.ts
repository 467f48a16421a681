import { expect, it } from 'vitest'
import { never } from '../../../../src/kit/abort.ts'
import { type Sign } from '../../../../src/usecase/ports/database-finder.ts'
import { findDatabases } from '../../../../src/usecase/setup/find-databases.ts'
import { placeReplicas } from '../../../../src/usecase/setup/place-replicas.ts'

const open = (pid: number): Sign => ({ kind: 'open', pid, program: 'node server.js' })
const named = (by: string): Sign => ({ kind: 'named', by })
const lying: Sign = { kind: 'lying' }

function find(folder: string, ...seen: [path: string, sign: Sign][]) {
  const sightings = seen.map(([path, sign]) => ({ path, sizeBytes: 4096, sign }))
  return findDatabases({ find: () => Promise.resolve(sightings) }, folder, never)
}

it('lists what is open first, then what is named, and says why', async () => {
  const found = await find(
    '/app',
    ['/app/old.db', lying],
    ['/app/dev.db', named('prisma/schema.prisma')],
    ['/srv/other.db', open(7)],
    ['/app/data.db', lying],
    ['/app/data.db', named('.env')],
    ['/app/data.db', named('.env')],
    ['/app/data.db', open(8)],
    ['/app/data.db', open(9)],
  )
  expect(found).toEqual([
    {
      path: '/app/data.db',
      sizeBytes: 4096,
      reasons: ['open in node server.js (8) and 1 more', 'named by .env'],
      isInUse: true,
    },
    {
      path: '/srv/other.db',
      sizeBytes: 4096,
      reasons: ['open in node server.js (7)'],
      isInUse: true,
    },
    {
      path: '/app/dev.db',
      sizeBytes: 4096,
      reasons: ['named by prisma/schema.prisma'],
      isInUse: true,
    },
    { path: '/app/old.db', sizeBytes: 4096, reasons: ['lies here'], isInUse: false },
  ])
})

it('passes over temporary files and those of browsers, but not in the folder itself', async () => {
  const paths = ['/tmp/app/x.db', '/home/me/.mozilla/places.sqlite', '/data/app.db']
  const seen = paths.map((path): [string, Sign] => [path, open(1)])
  const pathsIn = async (folder: string): Promise<string[]> =>
    (await find(folder, ...seen)).map(({ path }) => path)
  expect(await pathsIn('/srv')).toEqual(['/data/app.db'])
  expect(await pathsIn('/tmp/app')).toEqual(['/tmp/app/x.db', '/data/app.db'])
  expect(await pathsIn('/home/me')).toEqual(['/data/app.db'])
  expect(await pathsIn('/home/me/.mozilla')).toContain('/home/me/.mozilla/places.sqlite')
})

it.each([
  ['s3://b/app', ['/data/app.db'], ['s3://b/app']],
  [
    's3://b/p/?region=eu',
    ['/a/x.db', '/a/y 1.db'],
    ['s3://b/p/x.db?region=eu', 's3://b/p/y%201.db?region=eu'],
  ],
  ['s3://b', ['/a/x.db', '/b/x.db'], ['s3://b/a/x.db', 's3://b/b/x.db']],
  ['file:///r?', ['/a/x y.db', '/a/z.db'], ['file:///r?/x y.db', 'file:///r?/z.db']],
])('each database has a place of its own below %s', (url, paths, places) => {
  expect([...placeReplicas(paths, url).values()]).toEqual(places)
})
