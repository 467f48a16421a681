// Runs commands of the built program in one process, a JSON array of arguments each, and says on descriptor 3, as JSON, their
// exit codes and how much memory the process took at most.
import { writeSync } from 'node:fs'
import process from 'node:process'
import { Lifetime } from '../../dist/compose/lifetime.js'
import { favourMemoryFromNowOn } from '../../dist/delivery/cli/favour-memory.js'
import { main } from '../../dist/delivery/cli/main.js'

// As every command but the daemon begins.
favourMemoryFromNowOn()
const codes = []
for (const command of process.argv.slice(2)) {
  await using lifetime = new Lifetime()
  codes.push(await main(JSON.parse(command), lifetime))
}
const maxMebibytes = Math.round(process.resourceUsage().maxRSS / 1024)
writeSync(3, JSON.stringify({ codes, maxMebibytes }))
