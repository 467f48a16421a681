/** A process in which SQLite checks a restored database: its main thread waits for its end, another one makes the call. */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { checkIntegrity } from '../../infrastructure/image/check-integrity.js'
import { type CheckRequest } from '../../infrastructure/image/image-messages.js'

/** It makes one call. */
const maxYoungGenerationSizeMb = 2

if (isMainThread) {
  // Nobody wants to know any more. Node's own exit would wait for the call, which may last.
  process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'))
  process.once('message', (request: CheckRequest) => {
    const worker = new Worker(new URL(import.meta.url), {
      workerData: request,
      resourceLimits: { maxYoungGenerationSizeMb },
    })
    worker.once('message', (result) => process.send?.(result))
  })
} else {
  parentPort?.postMessage(await checkIntegrity(workerData as CheckRequest))
}
