import { expect, test } from 'vitest'
import { type Look } from '../../../../src/delivery/daemon/ask-daemon.ts'
import { statusAnswer, verdict } from '../../../../src/delivery/daemon/health-server.ts'
import { answerBeside, type Beside } from '../../../../src/delivery/library/beside.ts'
import { type DaemonDetails, type NotReady } from '../../../../src/domain/status.ts'
import { never } from '../../../../src/kit/abort.ts'
import { databaseStatus } from '../../../support/sample-status.ts'

const hangs = (database: string): NotReady => ({
  database,
  replica: undefined,
  reason: 'its loop has not moved for 6m',
})

const statusOf = (path: string, version = 'v1'): DaemonDetails => ({
  ...{ version, pid: 5, startedAtMs: 6, source: undefined, notReady: [hangs(path)] },
  databases: [{ ...databaseStatus, path, databaseBytes: 1, walBytes: 2 }],
  fileSystems: [],
})

const parts = (first: DaemonDetails, wanted: readonly { readonly path: string }[]): Beside => ({
  replication: { wanted } as unknown as Beside['replication'],
  elsewhere: [],
  report: {
    status: () => Promise.resolve(statusOf('/own.db')),
    hanging: () => [hangs('/own.db')],
  },
  metrics: {
    format: ({ databases }) =>
      Promise.resolve({ contentType: 'text', text: databases.map(({ path }) => path).join(' ') }),
  },
  askFirst: ({ path, accept }: Look) =>
    Promise.resolve(
      path === '/healthz' ? verdict(accept, first.notReady, 'alive') : statusAnswer(first),
    ),
})

const answerOf = async (
  path: Look['path'],
  of = parts(statusOf('/first.db'), [{ path: '/own.db' }]),
) => answerBeside({ path, accept: undefined }, of, never)

test.each(['/healthz', '/readyz'] as const)(
  'what is wrong in either process is wrong in the answer to %s',
  async (path) => {
    const text = ['/first.db', '/own.db'].map((db) => `${db}: ${hangs(db).reason}\n`).join('')
    expect(await answerOf(path)).toMatchObject({ status: 503, text })
  },
)

test('metrics are of the databases of both, and of one version', async () => {
  expect(await answerOf('/metrics')).toMatchObject({ status: 200, text: '/first.db /own.db' })
  const newer = parts(statusOf('/first.db', 'v2'), [{ path: '/own.db' }])
  await expect(answerOf('/metrics', newer)).rejects.toThrow('process 5 is of version v2')
  const { text = '' } = (await answerOf('/api/status', newer)) ?? {}
  expect(JSON.parse(text)).toMatchObject({
    databases: [{ path: '/first.db' }, { path: '/own.db' }],
  })
})

test('without anything beside it, the first one answers', async () => {
  expect(await answerOf('/healthz', parts(statusOf('/first.db'), []))).toBeUndefined()
})
