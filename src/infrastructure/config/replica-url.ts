import { posix } from 'node:path'

import { type ReplicaTarget } from '../../domain/config.js'
import { ConfigError } from '../../domain/errors.js'

const knownTypes = ['file', 's3', 'gcs', 'abs', 'sftp']

export function unsupportedType(type: string): string {
  return knownTypes.includes(type)
    ? `replica type ${type} is not supported by this version`
    : `unknown replica type: "${type}"`
}

/**
 * Where a replica's URL points. A file URL is taken literally, as the original does: nothing is percent-decoded, spaces
 * become `%20`, a host is part of the path, and so are query and fragment.
 */
export function parseReplicaUrl(url: string): ReplicaTarget {
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/(.*)$/s.exec(url)
  if (match?.[1] === undefined || match[2] === undefined) {
    throw new ConfigError(`replica url scheme required: ${url}`, {
      hint: 'Write a folder as file:///absolute/path.',
    })
  }
  const scheme = match[1].toLowerCase()
  if (scheme !== 'file') throw new ConfigError(unsupportedType(scheme))
  const path = posix.resolve('/', match[2].replaceAll(' ', '%20'))
  if (path === '/') throw new ConfigError('file replica path required')
  return { type: 'file', path }
}
