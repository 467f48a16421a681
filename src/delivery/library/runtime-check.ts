/** Imported before the rest of the library: where it cannot run, the import fails and says so. */
import { ConfigError } from '../../domain/errors.js'
import { whyNotHere } from '../../kit/runtime.js'

const reason = whyNotHere(process.versions)
if (reason !== undefined) throw new ConfigError(reason)
