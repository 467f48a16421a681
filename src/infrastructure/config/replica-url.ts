/**
 * Where a replica's URL points: what is in the URL itself, and the settings in its query. A `file` URL is taken
 * literally, as the original does: nothing is percent-decoded, spaces become `%20`, a host is part of the path, and so
 * are query and fragment.
 */
import { posix } from 'node:path'
import { ConfigError } from '../../domain/errors.js'
import { nearestName } from '../../kit/nearest-name.js'
import { type Environment } from './environment.js'
import { keys, type ObjectStoreType, objectStoreTypes } from './keys.js'
import { type StoreAddress, readTarget } from './replica-target.js'
import { textSettings } from './settings.js'
import { type ReplicaTarget } from '../../domain/settings/config.js'

export interface ReplicaUrl {
  readonly place: StoreAddress
  readonly query: ReadonlyMap<string, string>
}

/** The replica that a URL alone describes. */
export function parseReplicaUrl(url: string, env: Environment): ReplicaTarget {
  const { place, query } = splitReplicaUrl(url)
  const problems: string[] = []
  const settings = textSettings('replica', query, (key, problem) => {
    problems.push(`${key}: ${problem}`)
  })
  const target = readTarget(place, settings, { env })
  if (target === undefined || problems.length > 0) {
    throw new ConfigError(
      problems.map((problem) => `${withoutSecrets(url)}: ${problem}`).join('\n'),
    )
  }
  return target
}

export function splitReplicaUrl(url: string): ReplicaUrl {
  // A file's may do without an empty host: file:/a/b.
  const full = url.replace(/^(file:)(?=\/(?!\/))/i, '$1//')
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(.*)$/s.exec(full)
  if (match?.[1] === undefined || match[2] === undefined) {
    throw new ConfigError(`replica url scheme required: ${withoutSecrets(url)}`, {
      hint: 'Write a folder as file:///absolute/path.',
    })
  }
  const scheme = match[1].toLowerCase()
  if (scheme === 'file') {
    const path = posix.resolve('/', match[2].replaceAll(' ', '%20'))
    if (path === '/') throw new ConfigError('file replica path required')
    return { place: { type: 'file', path }, query: new Map() }
  }
  const type = typeOfScheme(scheme)
  const [, authority = '', path = '', query = ''] =
    /^([^/?#]*)([^?#]*)(?:\?([^#]*))?/.exec(match[2]) ?? []
  const decode = (text: string): string => decodeOf(url, text)
  const at = authority.lastIndexOf('@')
  const host = decode(authority.slice(at + 1))
  const [user = '', password] = authority.slice(0, Math.max(at, 0)).split(':').map(decode)
  if (
    password !== undefined ||
    (user !== '' && type !== 'abs') ||
    hasSecret(type, host, match[2].slice(authority.length))
  ) {
    throw new ConfigError(`${withoutSecrets(url)}: credentials in a url are not used`, {
      hint: credentialHints[type],
    })
  }
  if (isServer.test(host) && !isKnownServer(type, host)) {
    throw new ConfigError(
      `${type}://${host} names a server, but a bucket is needed: write ${type}://BUCKET/PATH?endpoint=${host}`,
    )
  }
  const prefix = cleanPrefix(decode(path))
  return {
    place: placeOf(type, { host, user, prefix }),
    query: parseQuery(type, query, decode),
  }
}

const isServer = /^[^:]*:\d*$/

/**
 * Whether it is credentials that stand where the bucket is: no bucket has a colon, and a secret with a slash in it ends there
 * what stands before the first slash. An ARN is a bucket, too.
 */
function hasSecret(type: ObjectStoreType, host: string, rest: string): boolean {
  if (!host.includes(':') || (type === 's3' && host.startsWith('arn:'))) return false
  return !isServer.test(host) || (rest.includes('@') && !isKnownServer(type, host))
}

const credentialHints: Readonly<Record<ObjectStoreType, string>> = {
  s3: 'Remove what stands before the @, and set access-key-id and secret-access-key of the replica, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.',
  gcs: 'Remove what stands before the @, and set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account’s key.',
  abs: 'Remove the password, and set account-key or sas-token of the replica, or LITESTREAM_AZURE_ACCOUNT_KEY.',
}

function typeOfScheme(scheme: string): ObjectStoreType {
  const type = objectStoreTypes.find((known) => known === (scheme === 'gs' ? 'gcs' : scheme))
  if (type === undefined) throw new ConfigError(unknownType(scheme))
  return type
}

const knownTypes = `file, ${objectStoreTypes.slice(0, -1).join(', ')} and ${objectStoreTypes.at(-1) ?? ''}`

/** What is said of a type that is no type of ours. */
export function unknownType(type: string): string {
  return type === 'sftp'
    ? 'sftp replicas are not supported: use a folder, s3, gcs or abs'
    : `unknown replica type in config: "${type}" (${knownTypes} are known)`
}

/** A prefix of keys as the original makes it of a path: cleaned, and without a slash at either end. */
export function cleanPrefix(path: string): string {
  const clean = posix.normalize(path).replace(/^\/+|\/+$/g, '')
  return clean === '.' ? '' : clean
}

/** What may be credentials, behind the scheme: their secret may have slashes, and the scheme may be mistyped. */
const credentials =
  /^((?:[a-z][a-z0-9+.-]*:)?\/*)(?:[^?#]*?(?::|%3a).*(?=@)|[^/?#]*(?=@)|[^/?#]*(?::|%3a)(?!\d*(?:[/?#]|$))[^/?#]*)/is

/** The URL with stars for what may be credentials, and without its query. */
export function withoutSecrets(url: string): string {
  return url.replace(credentials, '$1***').replace(/[?#].*$/s, '')
}

function placeOf(
  type: ObjectStoreType,
  { host, user, prefix }: { host: string; user: string; prefix: string },
): StoreAddress {
  switch (type) {
    case 'abs':
      return { type, bucket: host, prefix, accountName: user }
    case 'gcs':
      return { type, bucket: host, prefix }
    case 's3':
      return { type, prefix, ...s3Host(host) }
  }
}

/** The hosts that name a server of their own in front of the bucket. */
const s3Hosts: readonly { readonly pattern: RegExp; readonly scheme: string }[] = [
  { pattern: /^(?:(?<bucket>.+)\.)?(?<server>localhost)$/, scheme: 'http' },
  {
    pattern: /^(?:(?<bucket>.+)\.)?(?<server>s3\.(?<region>[^.]+)\.backblazeb2\.com)$/,
    scheme: 'https',
  },
  { pattern: /^(?:(?<bucket>.+)\.)?(?<server>s3\.filebase\.com)$/, scheme: 'https' },
  {
    pattern: /^(?:(?<bucket>.+)\.)?(?<server>(?<region>[^.]+)\.digitaloceanspaces\.com)$/,
    scheme: 'https',
  },
  { pattern: /^(?:(?<bucket>.+)\.)?(?<server>s3\.(?<region>[^.]+)\.scw\.cloud)$/, scheme: 'https' },
  {
    pattern: /^(?:(?<bucket>.+)\.)?(?<server>(?<region>[^.]+)\.linodeobjects\.com)$/,
    scheme: 'https',
  },
]

function isKnownServer(type: ObjectStoreType, hostAndPort: string): boolean {
  return type === 's3' && s3Host(hostAndPort).isKnownHost
}

function s3Host(hostAndPort: string): {
  bucket: string
  endpoint?: string
  region?: string
  isKnownHost: boolean
} {
  const [, host = '', port = ''] = /^(.*?)((?::\d*)?)$/s.exec(hostAndPort) ?? []
  for (const { pattern, scheme } of s3Hosts) {
    const groups = pattern.exec(host)?.groups
    if (groups?.['server'] === undefined) continue
    const region = groups['region']
    return {
      bucket: groups['bucket'] ?? '',
      endpoint: `${scheme}://${groups['server']}${port}`,
      ...(region === undefined ? {} : { region }),
      isKnownHost: true,
    }
  }
  return { bucket: hostAndPort, isKnownHost: false }
}

function parseQuery(
  type: ObjectStoreType,
  text: string,
  decode: (text: string) => string,
): ReadonlyMap<string, string> {
  const query = new Map<string, string>()
  const known = Object.entries(keys.replica).filter(([, info]) => info.stores?.includes(type))
  const allowed = known.filter(([, info]) => info.inUrl === true).map(([key]) => key)
  for (const part of text.split('&')) {
    if (part === '') continue
    const [name = '', ...rest] = part.split('=')
    const key = decode(name)
    const info = Object.hasOwn(keys.replica, key) ? keys.replica[key] : undefined
    if (info?.secret === true) {
      throw new ConfigError(
        `${key} does not belong in a url, where others see it: write it into a configuration file, or use an environment variable`,
      )
    }
    if (!allowed.includes(key)) {
      const nearest = nearestName(key, allowed)
      const suggestion =
        nearest === undefined ? `: ${allowed.join(', ')} are known` : `, did you mean ${nearest}?`
      throw new ConfigError(
        `unknown setting ${key} in the url of a replica of type ${type}${suggestion}`,
      )
    }
    if (query.has(key)) throw new ConfigError(`${key} is given twice in the url`)
    query.set(key, decode(rest.join('=')))
  }
  return query
}

function decodeOf(url: string, text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new ConfigError(
      `${withoutSecrets(url)}: a % in a url must be followed by two hexadecimal digits (%25 is % itself)`,
    )
  }
}
