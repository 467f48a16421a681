/** A process that is asked to do something: answer, exit, spin, read, take memory. */
import { Buffer } from 'node:buffer'
import { readFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import process from 'node:process'
import { setInterval } from 'node:timers'
const taken = []
process.once('message', ({ act }) => {
  if (act === 'answer') process.send({ got: act })
  if (act === 'exit') process.exit(3)
  if (act === 'spin') for (;;);
  if (act === 'read for two seconds') {
    const endMs = performance.now() + 2000
    while (performance.now() < endMs) readFileSync(import.meta.filename)
    process.send({ got: act })
  }
  if (act === 'take memory') {
    setInterval(() => taken.push(Buffer.alloc(16 * 1024 * 1024, 1)), 10)
  }
})
