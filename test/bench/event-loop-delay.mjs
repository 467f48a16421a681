// Preloaded into a daemon: writes its main thread's event-loop delay and the peak of its memory to the file named in
// this module's query when the process ends.
import { writeFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import process from 'node:process'
import { URL } from 'node:url'
import { isMainThread } from 'node:worker_threads'

const file = new URL(import.meta.url).searchParams.get('file')
if (isMainThread && file !== null) {
  const resolutionMs = 10
  const delay = monitorEventLoopDelay({ resolution: resolutionMs })
  // The start, with its loading of modules, is not what is asked.
  globalThis.setTimeout(() => delay.enable(), 1000).unref()
  process.on('exit', () => {
    // The histogram holds the whole time between two turns, its own pause included.
    const of = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - resolutionMs)
    writeFileSync(
      file,
      JSON.stringify({
        p99Ms: of(delay.percentile(99)),
        maxMs: of(delay.max),
        peakMib: process.resourceUsage().maxRSS / 1024,
      }),
    )
  })
}
