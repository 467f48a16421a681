import { expect, test } from 'vitest'
import { type LocalDisk } from '../../../../src/usecase/ports/local-disk.js'
import { silent } from '../../../support/silent-logger.ts'
import { ReportStatus } from '../../../../src/usecase/daemon/report-status.js'
import { WatchDisk } from '../../../../src/usecase/daemon/watch-disk.js'

const { signal } = new AbortController()
function make(disk: LocalDisk, failing: ReportStatus['notReady'] = () => []): ReportStatus {
  const clock = {
    now: () => 1000,
    monotonic: () => 1000,
    sleep: () => Promise.resolve(),
  }
  return new ReportStatus({
    replication: {
      status: () => [],
      get failing() {
        return failing()
      },
      neverBegun: [],
    },
    watchDisk: new WatchDisk({
      disk,
      databases: () => [{ path: '/app.db', metaPath: '/meta' } as never],
      clock,
      logger: silent,
    }),
    clock,
    facts: { version: 'v1', pid: 7, source: '/etc/tsreplicate.yml' },
  })
}

const never = new Promise<never>(() => undefined)

test('a disk that does not answer keeps nothing else from being told', async () => {
  const report = make({ fileBytes: () => never, walBytes: () => never, fileSystem: () => never })
  expect(await report.status(signal)).toEqual({
    version: 'v1',
    pid: 7,
    source: '/etc/tsreplicate.yml',
    startedAtMs: 1000,
    notReady: [],
    databases: [],
    fileSystems: [],
  })
})

test('a database that is wanted and cannot be opened makes the daemon not ready', async () => {
  const disk: LocalDisk = {
    fileBytes: () => Promise.resolve(undefined),
    walBytes: () => Promise.resolve(undefined),
    fileSystem: () => Promise.resolve(undefined),
  }
  const failing = [
    { database: '/app.db', replica: undefined, reason: 'it cannot be replicated: x' },
  ]
  const report = make(disk, () => failing)
  expect(report.notReady()).toEqual(failing)
  expect((await report.status(signal)).notReady).toEqual(failing)
})
