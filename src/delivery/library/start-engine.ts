/**
 * The process that the library replicates in. Signals are the application's business: what a terminal or a service manager sends to
 * all processes at once must not end this one while the application still writes. So they are ignored before the program is
 * loaded, which takes a while.
 */
import { ignoredSignals } from './ignored-signals.js'

for (const signal of ignoredSignals) process.on(signal, () => undefined)
// Nobody reads it when the application is gone, and what is left has to be stored all the same.
process.stderr.on('error', () => undefined)

await import('./engine.js')
