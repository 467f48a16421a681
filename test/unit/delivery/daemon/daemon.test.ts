import { type NotStored } from '../../../../src/domain/errors.ts'
import { describe, expect, it, vi } from 'vitest'

import { type DaemonReplication, runDaemon } from '../../../../src/delivery/daemon/daemon.ts'
import { Service } from '../../../../src/delivery/daemon/service.ts'
import { aborted } from '../../../../src/kit/abort.ts'
import { type Logger } from '../../../../src/usecase/ports/logger.ts'
import { type ServiceManager } from '../../../../src/usecase/ports/service-manager.ts'

function memoryLogger(messages: string[]): Logger {
  const add = (_: object, message: string): void => void messages.push(message)
  const logger: Logger = { debug: add, info: add, warn: add, error: add, child: () => logger }
  return logger
}

async function runUntilSigterm(
  run: DaemonReplication['run'],
): Promise<{ exitCode: number; messages: string[] }> {
  const messages: string[] = []
  const replication: DaemonReplication = {
    run,
    settled: () => Promise.resolve(),
    stored: () => Promise.resolve(),
    notStored: [],
    databases: [],
    failing: [],
    neverBegun: [],
  }
  const logger = memoryLogger(messages)
  const service = new Service(undefined, logger)
  const running = runDaemon(replication, {
    logger,
    service,
    shutdownTimeoutMs: 30,
    firstSyncTimeoutMs: 30,
  })
  process.emit('SIGTERM', 'SIGTERM')
  return { exitCode: await running, messages }
}

const lost: NotStored = { database: '/a.db', replica: 'file', detail: '1 segment' }

describe('runDaemon', () => {
  it('returns 0 when everything is stored', async () => {
    const { exitCode, messages } = await runUntilSigterm(async (stop) => {
      await aborted(stop)
      return []
    })
    expect(exitCode).toBe(0)
    expect(messages).toContain('tsreplicate shut down')
  })

  it('returns 74 and names what is not stored', async () => {
    const { exitCode, messages } = await runUntilSigterm(async (stop) => {
      await aborted(stop)
      return [lost]
    })
    expect(exitCode).toBe(74)
    expect(messages).toContain('not stored')
  })

  it('takes a signal that arrives twice at once for one', async () => {
    const { exitCode } = await runUntilSigterm(async (stop) => {
      await aborted(stop)
      process.emit('SIGTERM', 'SIGTERM')
      return []
    })
    expect(exitCode).toBe(0)
  })

  it('kills the last sync at the deadline', async () => {
    const { exitCode, messages } = await runUntilSigterm(async (_, kill) => {
      await aborted(kill)
      kill.throwIfAborted()
      return []
    })
    expect(exitCode).toBe(74)
    expect(messages).toContain('shutdown timeout reached')
  })

  it('leaves nothing that would end the process after a late end', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const running = runUntilSigterm(async (_, kill) => {
        await aborted(kill)
        return [lost]
      })
      await vi.advanceTimersByTimeAsync(30)
      expect((await running).exitCode).toBe(74)
      expect(vi.getTimerCount()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  it('passes other errors on and lets the signals go', async () => {
    const before = process.listenerCount('SIGTERM')
    const failing = runUntilSigterm(() => Promise.reject(new Error('broken')))
    await expect(failing).rejects.toThrow('broken')
    expect(process.listenerCount('SIGTERM')).toBe(before)
  })
})

describe('a service manager', () => {
  const refused = { database: '/c.db', replica: undefined, reason: 'no\npermission' }

  /** A daemon whose first sync takes as long as one wants. */
  function started(
    firstSyncTimeoutMs: number,
    {
      failing = [refused],
      neverBegun = () => [],
      watchdogMs,
    }: {
      readonly failing?: DaemonReplication['failing']
      readonly neverBegun?: () => DaemonReplication['neverBegun']
      readonly watchdogMs?: number
    } = {},
  ) {
    const told: string[] = []
    const lines: Parameters<typeof memoryLogger>[0] = []
    const stored = Promise.withResolvers<undefined>()
    const manager: ServiceManager = {
      watchdogMs,
      notify: (assignments) => void told.push(...assignments),
      flush: () => Promise.resolve(),
    }
    const replication: DaemonReplication = {
      run: async (stop) => {
        await aborted(stop)
        return []
      },
      settled: () => Promise.resolve(),
      stored: async (signal) => {
        await Promise.race([stored.promise, aborted(signal)])
      },
      notStored: [lost, { ...lost, replica: 's3' }, { ...lost, database: '/b.db' }],
      databases: [],
      failing,
      get neverBegun() {
        return neverBegun()
      },
    }
    const logger = memoryLogger(lines)
    const service = new Service(manager, logger)
    const options = { logger, service, shutdownTimeoutMs: 30, firstSyncTimeoutMs }
    const running = runDaemon(replication, options)
    const end = async (): Promise<void> => {
      process.emit('SIGTERM', 'SIGTERM')
      await running
    }
    return { told, lines, stored, end, service, replication }
  }

  it('is told that it is ready when everything is stored once', async () => {
    const { told, stored, end, service, replication } = started(60_000)
    await service.reload(() => Promise.resolve(), replication)
    expect(told).toEqual([])
    stored.resolve(undefined)
    await vi.waitFor(() => expect(told).toContain('READY=1'))
    await end()
  })

  it('is told so when that takes too long, with what is missing', async () => {
    const { told, end } = started(20)
    await vi.waitFor(() => expect(told).toContain('READY=1'))
    expect(told).toContain(
      'STATUS=replicating 0 databases, 2 with commits still to be stored: /a.db, /b.db, 1 failing: /c.db (no permission)',
    )
    await end()
  })

  it('hears of no life while a database whose replication was to begin hangs', async () => {
    const hanging = { database: '/d.db', replica: undefined, reason: 'its loop has not moved' }
    let neverBegun: readonly (typeof hanging)[] = []
    const { told, lines, end } = started(20, { neverBegun: () => neverBegun, watchdogMs: 20 })
    const signs = (): number => told.filter((each) => each === 'WATCHDOG=1').length
    await vi.waitFor(() => expect(signs()).toBeGreaterThan(2))
    neverBegun = [hanging]
    await vi.waitFor(() => expect(JSON.stringify(lines)).toContain('has hung in the operating'))
    const before = signs()
    neverBegun = []
    await vi.waitFor(() => expect(signs()).toBeGreaterThan(before))
    await end()
  })

  it('is told so in less than systemd takes, however long the paths are', async () => {
    const nested = `/\u001b[2J${'名/'.repeat(2000)}`
    const failing = ['/a', '/b', '/c', '/d'].map((folder) => ({
      ...refused,
      database: `${folder}${nested}x.db`,
    }))
    const { told, end } = started(20, { failing })
    await vi.waitFor(() => expect(told).toContain('READY=1'))
    const status = told.find((each) => each.startsWith('STATUS=replicating'))
    expect(status).toMatch(/4 failing: \/a\/\\u001b\[2J名[^,]*…[^,]*x\.db \(no permission\), \/b/)
    expect(Buffer.byteLength(`READY=1\n${status}`)).toBeLessThan(4096)
    await end()
  })
})
