/**
 * A socket in the file system. Whoever shares its folder reaches the daemon by it, also from another container. It goes
 * with the daemon; what a killed one has left is replaced.
 */
import { lstatSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { type SocketConfig } from '../../domain/settings/config.js'
import { AddressError } from '../../domain/errors.js'
import { codeOf, messageOf } from '../../kit/error-text.js'
import { type HealthServerOptions, serveHealth } from './health-server.js'

/** Another process answers there. */
export class SocketTakenError extends AddressError {}

/** Throws {@link SocketTakenError}, or {@link AddressError} when the path is not to be had. */
export async function serveSocketFile(
  { path, mode }: SocketConfig,
  options: HealthServerOptions,
): Promise<AsyncDisposable> {
  try {
    return await serveHealth({ path, mode }, options)
  } catch (error) {
    if (!(error instanceof AddressError) || codeOf(error.cause) !== 'EADDRINUSE') throw error
  }
  await removeStale(path)
  try {
    return await serveHealth({ path, mode }, options)
  } catch (error) {
    if (!(error instanceof AddressError) || codeOf(error.cause) !== 'EADDRINUSE') throw error
    // Of several that replace it at once, one is the first.
    throw new SocketTakenError(error.message, { cause: error })
  }
}

/** Removes a socket that nobody answers, and nothing else. */
async function removeStale(path: string): Promise<void> {
  const left = lstatSync(path, { throwIfNoEntry: false })
  if (left?.isSocket() !== true) {
    throw new AddressError(`cannot listen on socket ${path}: a file that is no socket is there`, {
      hint: 'choose another path',
    })
  }
  const code = await new Promise<string | undefined>((resolve) => {
    const connection = connect(path)
    connection.once('error', (error) => resolve(codeOf(error) ?? messageOf(error)))
    connection.once('connect', () => {
      connection.destroy()
      resolve(undefined)
    })
  })
  if (code === 'ENOENT') return
  if (code !== 'ECONNREFUSED') {
    const why = code === undefined ? 'another process answers there' : code
    const Refused = code === undefined ? SocketTakenError : AddressError
    throw new Refused(`cannot listen on socket ${path}: ${why}`, {
      hint: 'stop it (is it another tsreplicate?) or choose another path',
    })
  }
  // Another one may have replaced it meanwhile.
  if (lstatSync(path, { throwIfNoEntry: false })?.ino === left.ino) rmSync(path, { force: true })
}
