#!/usr/bin/env node
import { whyNotHere } from '../dist/kit/runtime.js'

// It would open Node's debugger to every user of the machine.
process.on('SIGUSR1', () => undefined)

const reason = whyNotHere(process.versions)
if (reason === undefined) {
  import('../dist/delivery/cli/start.js')
    .then(({ start }) => start(process.argv.slice(2)))
    .then((exitCode) => {
      process.exitCode = exitCode
    })
} else {
  process.stderr.write(`${reason}.\n`)
  process.exitCode = 78
}
