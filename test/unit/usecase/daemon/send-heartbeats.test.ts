import { describe, expect, test } from 'vitest'
import { Secret } from '../../../../src/domain/settings/secret.js'
import { type HeartbeatClient } from '../../../../src/usecase/ports/heartbeat-client.js'
import { type Logger } from '../../../../src/usecase/ports/logger.js'
import { SendHeartbeats } from '../../../../src/usecase/daemon/send-heartbeats.js'

type Answer = Awaited<ReturnType<HeartbeatClient['send']>>

/** Runs for `durationMs` of a clock that only sleeps move. */
async function runFor(
  durationMs: number,
  options: {
    readonly intervalMs: number
    readonly isSafe?: (nowMs: number) => boolean
    readonly answer?: (nowMs: number) => Answer
  },
): Promise<{ sentAt: number[]; log: string[] }> {
  let now = 0
  const stop = new AbortController()
  const sentAt: number[] = []
  const log: string[] = []
  const note = (fields: object, message: string): void => {
    log.push(`${now} ${message}${'problem' in fields ? `: ${String(fields.problem)}` : ''}`)
  }
  const logger: Logger = { debug: note, info: note, warn: note, error: note, child: () => logger }
  const { intervalMs, isSafe = () => true, answer = () => ({ kind: 'sent' }) } = options
  await new SendHeartbeats({
    url: new Secret('https://watch.example/token'),
    intervalMs,
    isSafe: () => isSafe(now),
    client: {
      send: () => {
        sentAt.push(now)
        return Promise.resolve(answer(now))
      },
    },
    clock: {
      now: () => now,
      monotonic: () => now,
      sleep: async (ms, signal) => {
        now += ms
        if (now >= durationMs) stop.abort()
        await Promise.resolve()
        signal.throwIfAborted()
      },
    },
    logger,
  }).run(stop.signal)
  return { sentAt, log }
}

describe('heartbeats', () => {
  test('are sent once per interval while all is stored', async () => {
    const { sentAt, log } = await runFor(250_000, { intervalMs: 60_000 })
    expect(sentAt).toEqual([0, 60_000, 120_000, 180_000, 240_000])
    expect(log).toEqual([])
  })

  test('stay out while something is late, and come at once when it is stored', async () => {
    const { sentAt } = await runFor(400_000, {
      intervalMs: 60_000,
      isSafe: (now) => now < 90_000 || now >= 299_000,
    })
    expect(sentAt.slice(0, 2)).toEqual([0, 60_000])
    expect(sentAt[2]).toBeGreaterThanOrEqual(299_000)
    expect(sentAt[2]).toBeLessThan(302_000)
  })

  test('that fail are tried again soon, said once in 30 s, and their recovery is said', async () => {
    const { sentAt, log } = await runFor(200_000, {
      intervalMs: 10_000,
      answer: (now) => (now < 90_000 ? { kind: 'failed', problem: 'no answer' } : { kind: 'sent' }),
    })
    expect(sentAt).toHaveLength(20)
    expect(log).toEqual([
      '0 heartbeat could not be sent, retrying: no answer',
      '30000 heartbeat could not be sent, retrying: no answer',
      '60000 heartbeat could not be sent, retrying: no answer',
      '90000 heartbeat sent again',
    ])
  })
})
