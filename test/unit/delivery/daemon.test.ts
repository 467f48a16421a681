import { describe, expect, it } from 'vitest'

import { type DaemonReplication, runDaemon } from '../../../src/delivery/daemon.ts'
import { Service } from '../../../src/delivery/service.ts'
import { type Logger } from '../../../src/usecase/ports/logger.ts'
import { type NotStored } from '../../../src/usecase/replicate.ts'

function memoryLogger(messages: string[]): Logger {
  const add = (_: object, message: string): void => void messages.push(message)
  const logger: Logger = { debug: add, info: add, warn: add, error: add, child: () => logger }
  return logger
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve()))
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
  }
  const logger = memoryLogger(messages)
  const service = new Service(undefined, logger)
  const running = runDaemon(replication, { logger, service, shutdownTimeoutMs: 30 })
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

  it('passes other errors on and lets the signals go', async () => {
    const before = process.listenerCount('SIGTERM')
    const failing = runUntilSigterm(() => Promise.reject(new Error('broken')))
    await expect(failing).rejects.toThrow('broken')
    expect(process.listenerCount('SIGTERM')).toBe(before)
  })
})
