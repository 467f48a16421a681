/**
 * Connections to stores, shared by all replicas of the process that make them in the same way: a hundred databases beside
 * each other need a few connections to their store, not a few hundred. An idle one ends by itself, and keeps no process
 * from ending.
 */
import { readFileSync } from 'node:fs'
import { type Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { getCACertificates } from 'node:tls'
import { ConfigError } from '../../../domain/errors.js'
import { http } from '../../../kit/node-http.js'

export interface Agents {
  readonly httpAgent: HttpAgent
  readonly httpsAgent: HttpsAgent
}

/** How connections are made. */
export interface ConnectionSettings {
  /** The certificate of an authority that is trusted beside the usual ones. */
  readonly caFile: string | undefined
  /** Any certificate will do. */
  readonly skipVerify: boolean
  /** The variables that name proxies; undefined: the server itself is meant. */
  readonly proxyEnv?: NodeJS.ProcessEnv | undefined
}

/** To one host. Restores read tens of segments at once, and one store that hangs must not use up all of them. */
const maxConnections = 256
/** Servers close connections that are idle for longer. */
const idleConnectionMs = 30_000

const shared = new Map<string, Agents>()

/** Throws a {@link ConfigError} if the file of the certificate cannot be read. */
export function agentsOf({ caFile, skipVerify, proxyEnv }: ConnectionSettings): Agents {
  const ca = caFile === undefined ? undefined : readCaFile(caFile)
  const key = JSON.stringify([proxyEnv, ca, skipVerify])
  const known = shared.get(key)
  if (known !== undefined) return known
  const common = {
    keepAlive: true,
    maxSockets: maxConnections,
    timeout: idleConnectionMs,
    ...(proxyEnv === undefined ? {} : { proxyEnv }),
  }
  const agents = {
    httpAgent: new http.Agent(common),
    httpsAgent: new HttpsAgent({
      ...common,
      rejectUnauthorized: !skipVerify,
      ...(ca === undefined ? {} : { ca: [...getCACertificates('default'), ca] }),
    }),
  }
  shared.set(key, agents)
  return agents
}

function readCaFile(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`cannot read the ca-file ${path}`, {
      cause: error,
      hint: 'make it readable for the user that runs tsreplicate',
    })
  }
}
