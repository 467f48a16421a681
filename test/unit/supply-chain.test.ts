/** What others publish under a name that they can move is named by what it is. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'

const root = join(import.meta.dirname, '../..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const lines = (path: string): string[] => read(path).split('\n')

test('actions of the workflows are named by their commits', () => {
  const folder = '.github/workflows'
  const uses = readdirSync(join(root, folder)).flatMap((name) =>
    lines(`${folder}/${name}`).filter((line) => /^\s*(?:- )?uses:/.test(line)),
  )
  expect(uses.length).toBeGreaterThan(5)
  expect(uses.filter((line) => !/uses: [\w-]+\/[\w/-]+@[0-9a-f]{40} # v\d/.test(line))).toEqual([])
})

test.each(['Dockerfile', 'examples/fly/Dockerfile'])(
  '%s begins with an image that is named by its digest',
  (path) => {
    const bases = lines(path).flatMap((line) => /^(?:ARG DEBIAN=|FROM )(.+)/.exec(line) ?? [])
    const named = bases.filter((text) => /\w:\w/.test(text))
    expect(named.length).toBeGreaterThan(0)
    expect(named.filter((text) => !/@sha256:[0-9a-f]{64}/.test(text))).toEqual([])
  },
)

test('a job of CI audits what is installed', () => {
  const ci = read('.github/workflows/ci.yml')
  expect(ci).toContain('npm audit --omit=dev')
  expect(ci).toContain('npm audit signatures')
})

test('CI runs the suite as root, and what takes longer once a week', () => {
  const asRoot = String.raw`run: sudo -E env "PATH=\$PATH" "HOME=\$HOME" `
  expect(read('.github/workflows/ci.yml')).toMatch(new RegExp(`${asRoot}\\.ci/run`))
  const weekly = read('.github/workflows/weekly.yml')
  expect(weekly).toMatch(new RegExp(`${asRoot}npm run test:\\$\\{\\{ matrix\\.suite \\}\\}`))
  expect(weekly).toContain('schedule:')
  const suites = /suite: \[(.+)\]/.exec(weekly)?.[1]?.split(', ') ?? []
  const long = ['fuzz', 'tenants', 'scenes', 'crash-apart', 'runtimes', 'examples', 'rpo']
  expect(suites).toEqual(long)
  // Two of them want MinIO, and are not green without it. What ci.yml has built of it is restored.
  const { jobs } = parse(weekly) as {
    jobs: { suite: { env: object; steps: { uses?: string; with?: object }[] } }
  }
  expect(jobs.suite.env).toEqual({
    TSREPLICATE_STORES: 'minio',
    TSREPLICATE_REQUIRE_STORES: 'minio',
  })
  const kept = jobs.suite.steps.find(({ uses }) => uses?.startsWith('actions/cache/restore@'))
  expect(kept?.with).toMatchObject({ path: '~/.cache/tsreplicate-stores' })
  expect(read('.github/workflows/ci.yml')).toContain((kept?.with as { key: string }).key)
  const { scripts } = JSON.parse(read('package.json')) as { scripts: object }
  expect(Object.keys(scripts)).toEqual(
    expect.arrayContaining(suites.map((suite) => `test:${suite}`)),
  )
})

test('whatever runs the suite does so as root, where other users reach the checkout', () => {
  const suite = /(^| )(\.ci\/run$|npm run test:\$)/
  const steps = ['ci', 'weekly', 'release'].flatMap((name) => {
    const { jobs } = parse(read(`.github/workflows/${name}.yml`)) as {
      jobs: Record<string, { steps: { run?: string }[] }>
    }
    return Object.values(jobs).flatMap((job) => {
      const runs = job.steps.map(({ run = '' }) => run)
      return runs.flatMap((run, i) => (suite.test(run) ? [{ run, before: runs.slice(0, i) }] : []))
    })
  })
  expect(steps).toHaveLength(3)
  for (const { run, before } of steps) {
    expect(run).toMatch(/^sudo -E env "PATH=\$PATH" "HOME=\$HOME" /)
    expect(before).toContain('chmod a+x ~')
  }
})
