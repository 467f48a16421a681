import { type ListenAddress } from '../../domain/settings/config.js'

/** `host:port`, `:port` or `[IPv6]:port`; else what is wrong with it. An empty host stays empty. */
export function parseAddress(text: string): ListenAddress | string {
  const colon = text.lastIndexOf(':')
  if (colon < 0 || text.endsWith(']')) return portMissing(text)
  const rawHost = text.slice(0, colon)
  const host = /^\[(.*)\]$/.exec(rawHost)?.[1] ?? rawHost
  if (host === rawHost && host.includes(':')) {
    return `too many colons in bind address: "${text}" (write an IPv6 address as [::1]:9090)`
  }
  const port = text.slice(colon + 1)
  if (port === '') return portMissing(text)
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    return `not a port in bind address: "${text}" (write for example 127.0.0.1:9090)`
  }
  return { host, port: Number(port) }
}

function portMissing(text: string): string {
  return `must specify port for bind address: "${text}" (write for example 127.0.0.1:9090)`
}
