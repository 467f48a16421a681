import { isIP } from 'node:net'
import { ConfigError } from '../../../domain/errors.js'

/** Where requests go to. */
interface Destination {
  readonly protocol: string
  readonly hostname: string
  readonly port?: number | string | undefined
}

/**
 * Throws the {@link ConfigError} of a secret that would be sent as it is to another machine without TLS: everybody on the way
 * could read and use it. Keys that sign requests are not sent.
 */
export function refusePlainSecret(what: string, { protocol, hostname, port }: Destination): void {
  if (protocol !== 'http:' || isLoopbackHost(hostname)) return
  const host = port === undefined || port === '' ? hostname : `${hostname}:${port}`
  throw new ConfigError(`${what} would be sent to ${host} over http, where others can read it`, {
    hint: 'use https, or set plain-secrets: true where nobody else can listen',
  })
}

/** Whether the host is this machine. */
export function isLoopbackHost(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '')
  return (
    host === '::1' ||
    /(?:^|\.)localhost$/.test(host) ||
    (isIP(host) === 4 && host.startsWith('127.'))
  )
}
