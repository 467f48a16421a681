// Loaded before the program (`--import`): notes in the file FORCED_EXITS whoever ends the process instead of letting it end,
// and what keeps it alive at that moment.
import { appendFileSync } from 'node:fs'
import process from 'node:process'
import { isMainThread } from 'node:worker_threads'

const path = process.env.FORCED_EXITS

if (isMainThread && path !== undefined) {
  const { exit } = process
  process.exit = (code) => {
    const alive = process.getActiveResourcesInfo().join(', ')
    const { stack } = new Error(`forced exit with ${code} of ${process.argv.slice(1).join(' ')}`)
    appendFileSync(path, `${stack}\nalive: ${alive}\n`)
    exit.call(process, code)
  }
}
