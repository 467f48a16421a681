import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { cleanUp, temporaryFolder } from '../support/cli.ts'
import { write } from '../support/ledger.ts'
import { measure, type Results, rounds, startTool, tools, untilSnapshot } from './measure.ts'

/** Wall time, CPU and memory of a restore of a database of `databaseMb` and `walMb` of WAL on top. */
export async function benchRestore(
  results: Results,
  { databaseMb, walMb }: { databaseMb: number; walMb: number },
): Promise<void> {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const oracle = join(folder, 'oracle')
  const replica = join(folder, 'replica')
  const common = { db, oracle, rows: 100, payloadBytes: 4400 }
  // A hundred rows are about half a megabyte, in the file as in the WAL.
  await write({ ...common, count: databaseMb * 2 })
  const daemon = startTool('tsreplicate', 'replicate', db, `file://${replica}`)
  await untilSnapshot(replica)
  await write({ ...common, count: walMb * 2, rate: Math.max(20, walMb / 40) })
  if ((await daemon.stop(300_000)) !== 0) throw new Error(daemon.output)
  const output = join(folder, 'out.db')
  const size = `${databaseMb} + ${walMb} MB`
  const args = ['restore', '-o', output]
  const runs = [
    ...(['quick', 'none'] as const).map((check) => ({
      name: check === 'none' ? 'no check' : 'with check',
      tool: 'tsreplicate' as const,
      args: [...args, '-integrity-check', check, `file://${replica}`],
    })),
    ...tools
      .filter((tool) => tool !== 'tsreplicate')
      .flatMap((tool) =>
        ['with check', 'no check'].map((name) => ({
          name,
          tool,
          args: [...args, `file://${replica}`],
        })),
      ),
  ]
  const measured = new Map(runs.map((run) => [run, [] as Awaited<ReturnType<typeof measure>>[]]))
  for (let round = 0; round < rounds; round++) {
    for (const run of runs) {
      measured.get(run)?.push(await measure(startTool(run.tool, ...run.args)))
      rmSync(output)
    }
  }
  for (const [{ name, tool }, all] of measured) {
    const what = `restore ${size}, ${name}`
    results.note(
      what,
      's',
      tool,
      all.map((run) => run.seconds),
    )
    results.note(
      `${what}: CPU`,
      's',
      tool,
      all.map((run) => run.cpuSeconds),
    )
    results.note(
      `${what}: memory`,
      'MiB',
      tool,
      all.map((run) => run.peakMib),
    )
  }
  await cleanUp()
}
