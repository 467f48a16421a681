/**
 * Connections to stores, shared by all replicas of the process that make them in the same way: a hundred databases beside
 * each other need a few connections to their store, not a few hundred. An idle one ends by itself, and keeps no process
 * from ending.
 */
import { readFileSync } from 'node:fs'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { getCACertificates } from 'node:tls'
import { type S3ReplicaTarget } from '../../../domain/settings/config.js'
import { ConfigError } from '../../../domain/errors.js'
import { isLoopbackHost } from './endpoint.js'

export interface Agents {
  readonly httpAgent: HttpAgent
  readonly httpsAgent: HttpsAgent
}

/** To one host. Restores read tens of segments at once, and one store that hangs must not use up all of them. */
const maxConnections = 256
/** Servers close connections that are idle for longer. */
const idleConnectionMs = 30_000

const shared = new Map<string, Agents>()

export function agentsOf(target: S3ReplicaTarget, endpoint: URL | undefined): Agents {
  // A proxy cannot reach this machine; and who trusts any certificate means the server itself.
  const direct = target.skipVerify || (endpoint !== undefined && isLoopbackHost(endpoint.hostname))
  const proxyEnv = direct ? undefined : proxyVariables()
  const ca = target.caFile === undefined ? undefined : readCaFile(target.caFile)
  const key = JSON.stringify([proxyEnv, ca, target.skipVerify])
  const known = shared.get(key)
  if (known !== undefined) return known
  const common = {
    keepAlive: true,
    maxSockets: maxConnections,
    timeout: idleConnectionMs,
    ...(proxyEnv === undefined ? {} : { proxyEnv }),
  }
  const agents = {
    httpAgent: new HttpAgent(common),
    httpsAgent: new HttpsAgent({
      ...common,
      rejectUnauthorized: !target.skipVerify,
      ...(ca === undefined ? {} : { ca: [...getCACertificates('default'), ca] }),
    }),
  }
  shared.set(key, agents)
  return agents
}

function proxyVariables(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => /^(?:https?|no)_proxy$/i.test(name)),
  )
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
