/** What the Azure client makes of answers, by the vendor's real client and a small server on loopback. */
import { createServer, type RequestListener, type Server } from 'node:http'
import { type AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { ConfigError, ObjectNotFoundError, ReplicaError } from '../../../../../src/domain/errors.js'
import { formatGeneration } from '../../../../../src/domain/wal/generation.js'
import { Secret } from '../../../../../src/domain/settings/secret.js'
import {
  openAbsReplica,
  chooseBlockSize,
} from '../../../../../src/infrastructure/replica-clients/azure/abs-store.js'
import { type ReplicaClient } from '../../../../../src/usecase/ports/replica-client.js'
import { absTarget } from '../../../../support/stores/azurite.js'

const mebibyte = 1024 * 1024
const generation = formatGeneration(new Uint8Array(8))
const ref = { kind: 'snapshot', generation, index: 0 } as const
const { signal } = new AbortController()
const servers: Server[] = []

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

async function serve(listener: RequestListener): Promise<ReplicaClient> {
  const server = createServer(listener)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const endpoint = `http://127.0.0.1:${port}/account`
  const store = { endpoint, accountName: 'account', accountKey: 'c2VjcmV0a2V5', container: 'box' }
  return openAbsReplica(absTarget(store), { requestMs: 500, noProgressMs: 300 })
}

async function read(client: ReplicaClient, offset = 0): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of client.read(ref, { offset, length: undefined }, signal)) {
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const refuse =
  (status: number, code: string, message = code): RequestListener =>
  (_, response) => {
    response.writeHead(status, { 'x-ms-error-code': code, 'content-type': 'application/xml' })
    response.end(
      `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`,
    )
  }

describe('an answer', () => {
  test.each([
    [500, 'InternalError', true],
    [503, 'ServerBusy', true],
    [408, 'OperationTimedOut', true],
    [409, 'SnapshotOperationRateExceeded', true],
    [429, 'TooManyRequests', true],
    [403, 'AuthenticationFailed', false],
    [403, 'AuthorizationPermissionMismatch', false],
    [404, 'ContainerNotFound', false],
    [400, 'InvalidHeaderValue', false],
  ])('of %i %s can be tried again: %s', async (status, code, retryable) => {
    const client = await serve(refuse(status, code))
    const error: unknown = await read(client).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(ReplicaError)
    expect(error).toMatchObject({ retryable })
    expect(String(error)).toContain('abs://account@box/generations/')
    expect(String(error)).not.toContain('c2VjcmV0a2V5')
  })

  test('that there is no such blob is an absent object', async () => {
    const client = await serve(refuse(404, 'BlobNotFound'))
    await expect(read(client)).rejects.toBeInstanceOf(ObjectNotFoundError)
  })

  test('that never comes is given up and can be tried again', async () => {
    const client = await serve(() => undefined)
    await expect(read(client)).rejects.toMatchObject({ retryable: true, code: 'REPLICA' })
  })

  test('whose body stalls is given up and can be tried again', async () => {
    const client = await serve((_, response) => {
      response.writeHead(200, { 'content-length': '100', etag: '"1"' })
      response.write('some')
    })
    await expect(read(client)).rejects.toMatchObject({ retryable: true })
  })

  test('whose body trickles is given up, too', async () => {
    const client = await serve((_, response) => {
      response.writeHead(200, { 'content-length': '100', etag: '"1"' })
      const timer = setInterval(() => response.write('4'), 30)
      response.once('close', () => clearInterval(timer))
    })
    await expect(read(client)).rejects.toMatchObject({ retryable: true })
  })

  test('whose body breaks off is no short read', async () => {
    const client = await serve((_, response) => {
      response.writeHead(200, { 'content-length': '100', etag: '"1"' })
      response.write('some', () => response.destroy())
    })
    await expect(read(client)).rejects.toMatchObject({ retryable: true })
  })

  test('is not waited for once the caller has gone', async () => {
    const client = await serve(() => undefined)
    const controller = new AbortController()
    const body = client.read(ref, { offset: 0, length: undefined }, controller.signal)
    const reading = body[Symbol.asyncIterator]().next()
    controller.abort(new Error('gone'))
    await expect(reading).rejects.toThrow('gone')
  })
})

test('the size of blocks grows with the blob', () => {
  expect(chooseBlockSize(1, undefined)).toBe(8 * mebibyte)
  expect(chooseBlockSize(1, mebibyte)).toBe(mebibyte)
  const tebibyte = 1024 * 1024 * mebibyte
  for (const expected of [tebibyte, 4 * tebibyte, 50 * tebibyte]) {
    expect(chooseBlockSize(expected, undefined) * 50_000).toBeGreaterThanOrEqual(expected * 1.1)
  }
})

test('an account-key that is none is a problem of the configuration', async () => {
  const store = { endpoint: '', accountName: 'a', accountKey: 'not base64!', container: 'box' }
  const client = openAbsReplica(absTarget(store, { endpoint: undefined }))
  const error: unknown = await read(client).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(ConfigError)
  expect(String(error)).not.toContain('not base64!')
})

test('the secrets of a token are in no message', async () => {
  const token = 'sv=2020-10-02&sp=r&sig=Zm9vYmFy%2Bc2ln'
  const target = absTarget(
    {
      endpoint: 'http://127.0.0.1:1/account',
      accountName: 'account',
      accountKey: '',
      container: 'box',
    },
    { accountKey: undefined, sasToken: new Secret(token) },
  )
  const error: unknown = await read(openAbsReplica(target)).catch((reason: unknown) => reason)
  expect(String(error)).toContain('nothing listens')
  expect(JSON.stringify(error) + String((error as Error).cause)).not.toContain('Zm9vYmFy')
})

test('a token is sent to another machine over https, or where that is asked for', () => {
  const openAt = (endpoint: string | undefined, plainSecrets = false): unknown => {
    const store = { endpoint: '', accountName: 'account', accountKey: '', container: 'box' }
    const token = { accountKey: undefined, sasToken: new Secret('sig=secret') }
    return openAbsReplica(absTarget(store, { ...token, endpoint, plainSecrets }))
  }
  const plain = 'http://azurite.internal:10000/account'
  expect(() => openAt(plain)).toThrow(ConfigError)
  expect(() => openAt(plain)).toThrow('sas-token would be sent to azurite.internal:10000 over http')
  expect(() => openAt(plain, true)).not.toThrow()
  for (const endpoint of [
    undefined,
    'https://azurite.internal',
    'http://127.0.0.1:10000/account',
  ]) {
    expect(() => openAt(endpoint)).not.toThrow()
  }
})
