/**
 * `npm run bench [-- --json] [-- --only capture,restore]`: tsreplicate beside Litestream 0.3.13, and beside 0.5.17 where
 * TSREPLICATE_BENCH_LITESTREAM05 gives its path, in one run on this machine. Medians of BENCH_ROUNDS (3) rounds; captures
 * last BENCH_SECONDS (20). `stores` and `stored` are tsreplicate alone, on a MinIO that they start; `footprint` measures the installed package. Progress goes to stderr, the table or the JSON to stdout.
 */
import { cleanUp } from '../support/cli.ts'
import { benchCapture, benchFullSpeed } from './capture.ts'
import { benchFootprint } from './footprint.ts'
import { benchIdle } from './idle.ts'
import { Results } from './measure.ts'
import { benchMemory } from './memory.ts'
import { benchRestore } from './restore.ts'
import { benchStored } from './stored.ts'
import { benchStores } from './stores.ts'

const parts: Record<string, (results: Results) => Promise<void>> = {
  restore: (results) => benchRestore(results, { databaseMb: 150, walMb: 300 }),
  capture: benchCapture,
  'full-speed': benchFullSpeed,
  'restore-large': (results) => benchRestore(results, { databaseMb: 1000, walMb: 2000 }),
  memory: benchMemory,
  stores: benchStores,
  stored: benchStored,
  idle: benchIdle,
  footprint: benchFootprint,
}

const only = process.argv.find((_, i, all) => all[i - 1] === '--only')?.split(',')
const unknown = only?.filter((name) => parts[name] === undefined) ?? []
if (unknown.length > 0) {
  throw new Error(`no such part: ${unknown.join(', ')}; there are ${Object.keys(parts).join(', ')}`)
}

const results = new Results()
try {
  for (const [name, bench] of Object.entries(parts)) {
    if (only === undefined || only.includes(name)) await bench(results)
  }
} finally {
  await cleanUp()
}
if (process.argv.includes('--json')) {
  process.stdout.write(`${JSON.stringify(results.json(), undefined, 2)}\n`)
} else {
  console.table(results.table())
}
