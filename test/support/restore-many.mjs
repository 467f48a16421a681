// Runs many commands in one process, because starting Node takes longer than a small restore: reads a JSON array of
// arguments per line from stdin, and answers with the exit code per line on descriptor 3.
import { writeSync } from 'node:fs'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { Lifetime } from '../../dist/compose/lifetime.js'
import { main } from '../../dist/delivery/cli/main.js'

for await (const line of createInterface({ input: process.stdin })) {
  await using lifetime = new Lifetime()
  const code = await main(JSON.parse(line), lifetime)
  writeSync(3, `${code}\n`)
}
