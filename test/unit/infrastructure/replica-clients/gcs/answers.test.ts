/** What the client of Google Cloud Storage makes of answers, by a small server on loopback. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { type AddressInfo } from 'node:net'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type GcsReplicaTarget } from '../../../../../src/domain/settings/config.js'
import { ConfigError, ObjectNotFoundError, ReplicaError } from '../../../../../src/domain/errors.js'
import { formatGeneration } from '../../../../../src/domain/wal/generation.js'
import { openGcsReplica } from '../../../../../src/infrastructure/replica-clients/gcs/gcs-store.js'
import { type ReplicaClient } from '../../../../../src/usecase/ports/replica-client.js'
import { gcsTarget } from '../../../../support/stores/fake-gcs.js'

const part = 256 * 1024
const generation = formatGeneration(new Uint8Array(8))
const ref = { kind: 'snapshot', generation, index: 0 } as const
const { signal } = new AbortController()
const servers: Server[] = []
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'gcs-answers-'))
})

afterEach(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true, force: true })
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function serve(
  listener: RequestListener,
  settings: Partial<GcsReplicaTarget> = {},
): Promise<ReplicaClient> {
  const endpoint = await listen(listener)
  const target = gcsTarget({ endpoint, bucket: 'box' }, { partSizeBytes: part, ...settings })
  // Loading what finds credentials takes its time.
  const requestMs = target.anonymous ? 500 : 30_000
  return openGcsReplica(target, { requestMs, noProgressMs: 300 })
}

async function read(client: ReplicaClient, offset = 0): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of client.read(ref, { offset, length: undefined }, signal)) {
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function failure(promise: Promise<unknown>): Promise<ReplicaError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ReplicaError)
  return error as ReplicaError
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

const refuse =
  (status: number, reason: string, message = reason): RequestListener =>
  (request, response) => {
    request.resume()
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ error: { code: status, message, errors: [{ reason }] } }))
  }

describe('an answer', () => {
  test.each([
    [500, 'internalError', true],
    [503, 'backendError', true],
    [408, 'requestTimeout', true],
    [409, 'conflict', true],
    [429, 'rateLimitExceeded', true],
    [403, 'rateLimitExceeded', true],
    [403, 'forbidden', false],
    [401, 'authError', false],
    [400, 'invalid', false],
  ])('of %i %s can be tried again: %s', async (status, reason, retryable) => {
    const error = await failure(read(await serve(refuse(status, reason))))
    expect(error.retryable).toBe(retryable)
    expect(error.message).toContain('gcs://box/generations/')
  })

  test('that there is no such object is an absent object, and of the bucket is said', async () => {
    const absent = await serve(refuse(404, 'notFound', 'No such object: box/x'))
    await expect(read(absent)).rejects.toBeInstanceOf(ObjectNotFoundError)
    const noBucket = await serve(refuse(404, 'notFound', 'The specified bucket does not exist.'))
    expect((await failure(read(noBucket))).message).toContain('there is no such bucket')
    const deletion = noBucket.delete([ref], signal)
    expect((await failure(deletion)).message).toContain('there is no such bucket')
  })

  test('that a policy keeps the object names the way out', async () => {
    const client = await serve(refuse(403, 'retentionPolicyNotMet', 'Object is subject to it'))
    const error = await failure(client.delete([ref], signal))
    expect(error.hint).toContain('retention: none')
    expect(error.retryable).toBe(false)
  })

  test('of a proxy in HTML is not shown', async () => {
    const client = await serve((_, response) => {
      response.writeHead(502, { 'content-type': 'text/html' }).end('<html>oops</html>')
    })
    const error = await failure(read(client))
    expect(error.message).toMatch(/the store refused \(HTTP 502\)$/)
    expect(error.retryable).toBe(true)
  })

  test('that never comes is given up and can be tried again', async () => {
    const client = await serve(() => undefined)
    await expect(read(client)).rejects.toMatchObject({ retryable: true, code: 'REPLICA' })
  })

  test.each(['{"items":[{"name"', '{"items":[{"name":"a"}]}', '"x"', '{"items":1}'])(
    'that is no listing, %j, can be tried again',
    async (text) => {
      const client = await serve((_, response) => void response.end(text))
      const list = async () => {
        for await (const info of client.listGenerations(signal)) expect.fail(info)
        for await (const { index } of client.listSnapshots(generation, signal)) {
          expect.fail(String(index))
        }
      }
      await expect(list()).rejects.toMatchObject({ retryable: true })
    },
  )

  test('whose body stalls is given up and can be tried again', async () => {
    const client = await serve((_, response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('some')
    })
    await expect(read(client)).rejects.toMatchObject({ retryable: true })
  })

  test('whose body trickles is given up, too', async () => {
    const client = await serve((_, response) => {
      response.writeHead(200, { 'content-length': '100' })
      const timer = setInterval(() => response.write('4'), 30)
      response.once('close', () => clearInterval(timer))
    })
    await expect(read(client)).rejects.toMatchObject({ retryable: true })
  })

  test('whose body breaks off is no short read', async () => {
    const client = await serve((_, response) => {
      response.writeHead(200, { 'content-length': '100' })
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

  test('is read on only from the generation that was begun', async () => {
    const asked: (string | null)[] = []
    const client = await serve((request, response) => {
      const wanted = new URL(request.url ?? '', 'http://x').searchParams.get('ifGenerationMatch')
      asked.push(wanted)
      if (wanted === '7') return refuse(412, 'conditionNotMet')(request, response)
      response.writeHead(200, { 'x-goog-generation': '7' }).end('0123')
    })
    await read(client)
    const error = await failure(read(client, 2))
    expect(error.message).toContain('replaced while it was being read')
    expect(asked).toEqual([null, '7'])
  })
})

/** A store that takes sessions of uploads apart from what `misbehave` does with a request. */
function sessions(
  misbehave: (range: string, response: Parameters<RequestListener>[1]) => boolean = () => false,
) {
  const seen: string[] = []
  let stored = Buffer.alloc(0)
  const listener: RequestListener = (request, response) => {
    void bodyOf(request).then((body) => {
      const range = request.headers['content-range'] ?? ''
      seen.push(`${String(request.method)} ${range}`.trim())
      if (request.method === 'POST') {
        const location = `http://${String(request.headers.host)}/session?upload_id=hidden`
        return void response.writeHead(200, { location }).end()
      }
      if (request.method === 'DELETE') return void response.writeHead(499).end()
      const [, first = '*', total = '*'] = /^bytes (\d+|\*)(?:-\d+)?\/(\d+|\*)$/.exec(range) ?? []
      // The store passes over what it has.
      const skipped = first === '*' ? 0 : stored.length - Number(first)
      if (!misbehave(range, response)) {
        stored = Buffer.concat([stored, body.subarray(skipped)])
        if (total !== '*') return void response.end(JSON.stringify({ size: String(stored.length) }))
        response.writeHead(308, { range: `bytes=0-${stored.length - 1}` }).end()
      }
    })
  }
  return {
    seen,
    listener,
    stored: () => stored,
    take: (bytes: Buffer) => (stored = Buffer.concat([stored, bytes])),
  }
}

describe('an upload of several parts', () => {
  const first = { number: 0, bytes: Buffer.alloc(part, 'a'), last: false }
  const last = { number: 1, bytes: Buffer.from('end'), last: true }

  test('sends its last part only when it is finished', async () => {
    const store = sessions()
    const client = await serve(store.listener)
    await using upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
    await upload.sendPart(first)
    await upload.sendPart(last)
    expect(store.seen).toEqual(['POST', 'PUT bytes 0-262143/*'])
    await upload.finish()
    expect(store.seen.slice(2)).toEqual(['PUT bytes 262144-262146/262147'])
    expect(store.stored().equals(Buffer.concat([first.bytes, last.bytes]))).toBe(true)
  })

  test('goes on from where the store has got, and from a lost answer', async () => {
    let failures = 0
    const store = sessions((range, response) => {
      failures += 1
      if (failures === 1) {
        store.take(Buffer.alloc(1000, 'a'))
        response.writeHead(308, { range: 'bytes=0-999' }).end()
        return true
      }
      if (failures === 2) {
        expect(range).toBe('bytes 1000-262143/*')
        store.take(Buffer.alloc(part - 1000, 'a'))
        response.destroy()
        return true
      }
      return false
    })
    const client = await serve(store.listener)
    await using upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
    await expect(upload.sendPart(first)).rejects.toMatchObject({ retryable: true })
    await upload.sendPart(first)
    await upload.sendPart(last)
    await upload.finish()
    expect(store.stored().equals(Buffer.concat([first.bytes, last.bytes]))).toBe(true)
  })

  test('that is given up ends its session', async () => {
    const store = sessions()
    const client = await serve(store.listener)
    const upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
    await upload.sendPart(first)
    await upload[Symbol.asyncDispose]()
    await upload[Symbol.asyncDispose]()
    expect(store.seen).toEqual(['POST', 'PUT bytes 0-262143/*', 'DELETE'])
  })

  test('whose session the store has lost is given up for good', async () => {
    const store = sessions((_, response) => {
      response.writeHead(410).end()
      return true
    })
    const client = await serve(store.listener)
    await using upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
    const error = await failure(upload.sendPart(first))
    expect(error.retryable).toBe(false)
    expect(error.message).toContain('no longer knows')
    expect(JSON.stringify(error) + error.message + String(error.cause)).not.toContain('hidden')
  })

  test('of which the store makes something else does not stay', async () => {
    const store = sessions((range, response) => {
      if (range.endsWith('*')) return false
      response.end(JSON.stringify({ size: '12', generation: '5' }))
      return true
    })
    const client = await serve((request, response) => {
      if (request.method === 'DELETE') {
        store.seen.push(`DELETE ${String(request.url).split('?')[1] ?? ''}`)
        return void response.writeHead(204).end()
      }
      store.listener(request, response)
    })
    await using upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
    await upload.sendPart(first)
    await upload.sendPart(last)
    expect((await failure(upload.finish())).message).toContain('12 bytes of the 262147')
    expect(store.seen).toContain('DELETE generation=5')
  })
})

describe('credentials', () => {
  const none = () => {
    vi.stubEnv('HOME', folder)
    vi.stubEnv('CLOUDSDK_CONFIG', folder)
    vi.stubEnv('METADATA_SERVER_DETECTION', 'none')
  }
  const withFile = (text: string) => {
    const file = join(folder, 'credentials.json')
    writeFileSync(file, text)
    vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', file)
  }
  /** Credentials of another identity provider, whose token `answer` exchanges. */
  const federated = async (answer: RequestListener) => {
    vi.spyOn(console, 'warn').mockImplementation(() => undefined)
    const tokenFile = join(folder, 'token')
    writeFileSync(tokenFile, 'subject')
    withFile(
      JSON.stringify({
        type: 'external_account',
        audience: 'tests',
        subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
        token_url: `${await listen(answer)}/token`,
        credential_source: { file: tokenFile },
      }),
    )
  }
  const refuseToken = (error: string, description: string): RequestListener => {
    return (request, response) => {
      request.resume()
      response.writeHead(400, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ error, error_description: description }))
    }
  }

  test.each<[string, () => unknown, string]>([
    ['none', none, 'no credentials were found'],
    ['no file', () => vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', '/absent'), 'cannot be used'],
    ['a broken file', () => withFile('{'), 'cannot be used'],
    [
      'an unknown account',
      () => federated(refuseToken('invalid_grant', 'Invalid grant: account not found')),
      'are not accepted',
    ],
    [
      'an expired token',
      () => federated(refuseToken('invalid_grant', 'Token has been expired or revoked.')),
      'have expired',
    ],
  ])('%s is told in plain words', async (_, prepare, phrase) => {
    const client = await serve(() => expect.fail('asked without credentials'), { anonymous: false })
    await prepare()
    const error = await failure(read(client))
    expect(error.message).toContain(phrase)
    expect(error.message).toContain('gcs://box/generations/')
    expect(error.hint).toBeDefined()
    expect(error.retryable).toBe(false)
  })

  test('that are found go with each request, and those that are refused are found anew', async () => {
    let exchanges = 0
    await federated((request, response) => {
      request.resume()
      exchanges += 1
      response.setHeader('content-type', 'application/json')
      response.end(
        JSON.stringify({
          access_token: `token-${exchanges}`,
          issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
          token_type: 'Bearer',
          expires_in: 3600,
        }),
      )
    })
    const seen: (string | undefined)[] = []
    const client = await serve(
      (request, response) => {
        seen.push(request.headers.authorization)
        if (seen.length === 2) return refuse(401, 'authError')(request, response)
        response.end('body')
      },
      { anonymous: false },
    )
    await read(client)
    const error = await failure(read(client))
    expect(error.message).toContain('the credentials are not accepted')
    expect(JSON.stringify(error) + String(error.cause)).not.toContain('token-1')
    await read(client)
    expect(seen).toEqual(['Bearer token-1', 'Bearer token-1', 'Bearer token-2'])
  })
})

test('an endpoint or ca-file that is none is a problem of the configuration', async () => {
  const store = { endpoint: 'https://', bucket: 'box' }
  await expect(read(openGcsReplica(gcsTarget(store)))).rejects.toBeInstanceOf(ConfigError)
  const target = gcsTarget({ ...store, endpoint: 'https://127.0.0.1:1' }, { caFile: '/absent.pem' })
  await expect(read(openGcsReplica(target))).rejects.toBeInstanceOf(ConfigError)
})
