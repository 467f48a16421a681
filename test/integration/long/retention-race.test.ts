import { rmSync } from 'node:fs'
import { afterAll, expect, test } from 'vitest'
import { cleanUp, run, start, writeConfig } from '../../support/cli.ts'
import { lastAcknowledged, startWriter, verifyLedger } from '../../support/ledger.ts'
import { scene } from '../../support/scene.ts'

afterAll(() => cleanUp())

const restores = Number(process.env['RETENTION_RACES'] ?? 200)

test(`${restores} restores raced against retention all succeed`, async () => {
  const { folder, db, oracle, replica, out } = scene()
  const daemon = start(
    'replicate',
    '-config',
    writeConfig(folder, {
      path: db,
      'min-checkpoint-page-count': 20,
      replicas: [
        {
          path: replica,
          retention: '4s',
          'retention-check-interval': '100ms',
          'snapshot-interval': '200ms',
        },
      ],
    }),
  )
  startWriter({ db, oracle, rate: 60, payloadBytes: 3000 })
  await daemon.waitFor(/snapshot deleted/, { times: 5, timeoutMs: 120_000 })
  let replanned = 0
  let moments = 0
  for (let i = 0; i < restores; i += 1) {
    const output = out(String(i))
    const before = lastAcknowledged(oracle)
    // Every third one wants a moment that has left the window a while after it began, when what it reads may go.
    const target = i % 3 === 0 ? ['-timestamp', new Date(Date.now() - 2000).toISOString()] : []
    moments += target.length / 2
    const { code, stderr } = await run('restore', '-o', output, ...target, `file://${replica}`)
    expect(code, `restore ${i}: ${stderr}`).toBe(0)
    if (stderr.includes('planned again')) replanned += 1
    const { n } = verifyLedger(output, oracle)
    if (target.length === 0) expect(n).toBeGreaterThan(before - 600)
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${output}${suffix}`, { force: true })
  }
  const deleted = daemon.count(/snapshot deleted/)
  console.info(
    `races: ${restores} restores (${moments} of moments), ${deleted} snapshots deleted meanwhile, ${replanned} planned again`,
  )
  expect(deleted).toBeGreaterThan(restores / 4)
})
