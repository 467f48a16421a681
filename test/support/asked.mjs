/** A process that is asked to do something: answer, exit, spin, take memory. */
import { Buffer } from 'node:buffer'
import process from 'node:process'
import { setInterval } from 'node:timers'
const taken = []
process.once('message', ({ act }) => {
  if (act === 'answer') process.send({ got: act })
  if (act === 'exit') process.exit(3)
  if (act === 'spin') for (;;);
  if (act === 'take memory') {
    setInterval(() => taken.push(Buffer.alloc(16 * 1024 * 1024, 1)), 10)
  }
})
