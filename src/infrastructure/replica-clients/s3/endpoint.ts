import { isIP } from 'node:net'
import { ConfigError } from '../../../domain/errors.js'
import { isLoopbackHost } from '../object-store/plain-secrets.js'

/**
 * The URL of an endpoint as it was configured. Without a scheme it is https, but http where the traffic cannot leave
 * the machine or the private network.
 */
export function parseEndpoint(text: string): URL {
  const hasScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text)
  const url = toUrl(hasScheme ? text : `https://${text}`)
  return !hasScheme && isPrivateHost(url.hostname) ? toUrl(`http://${text}`) : url
}

function toUrl(text: string): URL {
  try {
    return new URL(text)
  } catch {
    throw new ConfigError('the endpoint of the replica is not a URL', {
      hint: 'write it as https://host, with the port if there is one',
    })
  }
}

function isPrivateHost(hostname: string): boolean {
  if (isLoopbackHost(hostname)) return true
  const host = hostname.replace(/^\[|\]$/g, '')
  switch (isIP(host)) {
    case 4:
      return /^(?:10\.|192\.168\.|169\.254\.|172\.(?:1[6-9]|2\d|3[01])\.)/.test(host)
    case 6:
      return /^(?:f[cd]|fe[89ab])/.test(host)
    default:
      return false
  }
}
