import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { cleanUp, program, Running, temporaryFolder } from '../support/cli.ts'
import { startWriter, summaryOf, write } from '../support/ledger.ts'
import { measure, peakMemoryMib, type Results, startTool, untilSnapshot } from './measure.ts'

const preload = pathToFileURL(join(import.meta.dirname, 'event-loop-delay.mjs')).href

/**
 * Memory and event-loop delay of the daemon through a snapshot of 2 GiB and a transaction of 1 GiB, and memory of the
 * restore, each beside the same with a small database.
 */
export async function benchMemory(results: Results): Promise<void> {
  const folder = temporaryFolder()
  const common = { oracle: join(folder, 'oracle'), rows: 100, payloadBytes: 4400 }
  const small = { ...common, db: join(folder, 'small.db'), oracle: join(folder, 'small-oracle') }
  await write({ ...small, count: 20 })
  const { daemon: smallDaemon } = startMeasured(folder, small.db)
  await untilSnapshot(join(folder, 'small.db-replica'))
  const smallMib = peakMemoryMib(smallDaemon.pid)
  await smallDaemon.stop()

  const db = join(folder, 'app.db')
  const replica = `${db}-replica`
  await write({ ...common, db, count: 4096 })
  const { daemon, delayFile } = startMeasured(folder, db)
  await untilSnapshot(replica)
  const snapshotMib = peakMemoryMib(daemon.pid)
  const writer = startWriter({ ...common, db, bigTransactionRows: 220_000, count: 1 })
  await summaryOf(writer, 900_000)
  if ((await daemon.stop(900_000)) !== 0) throw new Error(daemon.output)
  const delay = JSON.parse(readFileSync(delayFile, 'utf8')) as Record<string, number>
  results.note('memory: daemon growth, 2 GiB snapshot', 'MiB', 'tsreplicate', [
    snapshotMib - smallMib,
  ])
  results.note('memory: daemon growth, 1 GiB transaction too', 'MiB', 'tsreplicate', [
    (delay['peakMib'] ?? 0) - smallMib,
  ])
  results.note('event loop: delay p99', 'ms', 'tsreplicate', [delay['p99Ms'] ?? 0])
  results.note('event loop: delay max', 'ms', 'tsreplicate', [delay['maxMs'] ?? 0])

  const output = join(folder, 'out.db')
  const smallRun = await measure(
    startTool('tsreplicate', 'restore', '-o', output, `file://${join(folder, 'small.db-replica')}`),
  )
  rmSync(output)
  const run = await measure(startTool('tsreplicate', 'restore', '-o', output, `file://${replica}`))
  rmSync(output)
  const theirs = await measure(
    startTool('litestream 0.3.13', 'restore', '-o', output, `file://${replica}`),
  )
  results.note('restore 2 GiB + 1 GiB', 's', 'tsreplicate', [run.seconds])
  results.note('restore 2 GiB + 1 GiB', 's', 'litestream 0.3.13', [theirs.seconds])
  results.note('memory: restore growth, 2 GiB + 1 GiB', 'MiB', 'tsreplicate', [
    run.peakMib - smallRun.peakMib,
  ])
  await cleanUp()
}

/** A daemon whose event-loop delay is written to a file when it ends. Flags on its command line would keep it from setting its own. */
function startMeasured(folder: string, db: string): { daemon: Running; delayFile: string } {
  const delayFile = join(folder, 'delay.json')
  const args = [program, 'replicate', db, `file://${db}-replica`]
  const daemon = new Running('tsreplicate', process.execPath, args, {
    NODE_OPTIONS: `--import=${preload}?file=${encodeURIComponent(delayFile)}`,
  })
  return { daemon, delayFile }
}
