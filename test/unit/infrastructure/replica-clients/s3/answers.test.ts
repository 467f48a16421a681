/** What the client makes of answers that are refused, wrong, cut off, late or lost. */
import { type ServerResponse } from 'node:http'
import { inspect } from 'node:util'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type S3ReplicaTarget } from '../../../../../src/domain/settings/config.js'
import { ObjectNotFoundError, ReplicaError } from '../../../../../src/domain/errors.js'
import { formatGeneration } from '../../../../../src/domain/wal/generation.js'
import { type ObjectRef } from '../../../../../src/domain/stored/replica-layout.js'
import { Secret } from '../../../../../src/domain/settings/secret.js'
import { openS3Replica } from '../../../../../src/infrastructure/replica-clients/s3/s3-store.js'
import {
  type ByteRange,
  type ObjectUpload,
  type ReplicaClient,
} from '../../../../../src/usecase/ports/replica-client.js'
import { s3Target } from '../../../../support/stores/s3-target.js'
import {
  answerError,
  answerLikeS3,
  answerXml,
  type RecordedRequest,
  type ScriptedS3,
  startScriptedS3,
} from '../../../../support/stores/scripted-s3.js'

const { signal } = new AbortController()
const generation = formatGeneration(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]))
const ref: ObjectRef = { kind: 'snapshot', generation, index: 1 }
const object = `generations/${generation}/snapshots/00000001.snapshot.lz4`
const whole: ByteRange = { offset: 0, length: undefined }
const noProgressMs = 200

let server: ScriptedS3

beforeEach(async () => {
  server = await startScriptedS3()
})

afterEach(async () => {
  await server[Symbol.asyncDispose]()
})

function open(settings: Partial<S3ReplicaTarget> = {}, timeouts = {}): ReplicaClient {
  const store = {
    endpoint: server.endpoint,
    accessKeyId: 'AKID',
    secretAccessKey: 'very-secret',
    bucket: 'bucket',
    region: 'us-east-1',
  }
  return openS3Replica(s3Target(store, settings), timeouts)
}

const collect = <T>(items: AsyncIterable<T>): Promise<T[]> => Array.fromAsync(items)

async function get(client: ReplicaClient, range = whole): Promise<string> {
  return Buffer.concat(await collect(client.read(ref, range, signal))).toString()
}

async function put(client: ReplicaClient, text = 'hello'): Promise<void> {
  await using upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
  await upload.sendPart({ number: 0, bytes: Buffer.from(text), last: true })
  await upload.finish()
}

/** An upload whose parts are sent. */
async function sendParts(client: ReplicaClient, of = signal): Promise<ObjectUpload> {
  const upload = await client.startUpload(ref, { expectedBytes: 1 }, of)
  const bytes = Buffer.alloc(upload.partSizeBytes)
  await upload.sendPart({ number: 0, bytes, last: false })
  await upload.sendPart({ number: 1, bytes: Buffer.from('end'), last: true })
  return upload
}

async function failure(promise: Promise<unknown>): Promise<ReplicaError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ReplicaError)
  return error as ReplicaError
}

const isCompletion = ({ method, url }: RecordedRequest) =>
  method === 'POST' && url.includes('uploadId=')

const methods = () => server.requests.map(({ method }) => method)

describe('credentials and permissions', () => {
  test.each([
    ['InvalidAccessKeyId', 403, 'the access key id is not known'],
    ['SignatureDoesNotMatch', 403, 'the secret access key does not belong to the access key id'],
    ['AccessDenied', 403, 'permission denied'],
    ['ExpiredToken', 400, 'the session token has expired'],
    ['NoSuchBucket', 404, 'there is no such bucket'],
    ['UserSuspended', 403, 'the account is suspended'],
    ['AccountProblem', 403, 'permission denied'],
  ])('%s is told apart, and not tried again', async (code, status, phrase) => {
    server.answerWith((_, response) => answerError(response, status, code))
    for (const attempt of [
      () => put(open()),
      () => get(open()),
      () => collect(open().listGenerations(signal)),
    ]) {
      const error = await failure(attempt())
      expect(error.message).toContain(phrase)
      expect(error.message).toContain(`(${code}, HTTP ${status})`)
      expect(error.message).toContain('s3://bucket/generations')
      expect(error.retryable).toBe(false)
      expect(error.hint).toBeDefined()
    }
    expect(server.requests).toHaveLength(3)
  })

  test('no credentials at all', async () => {
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_PROFILE']) {
      vi.stubEnv(name, undefined)
    }
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true')
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/nonexistent')
    vi.stubEnv('AWS_CONFIG_FILE', '/nonexistent')
    try {
      const error = await failure(put(open({ credentials: undefined })))
      expect(error.message).toContain('no credentials were found')
      expect(error.hint).toContain('access-key-id')
      expect(server.requests).toHaveLength(0)
    } finally {
      vi.unstubAllEnvs()
    }
  })

  test('the hint names the permission', async () => {
    server.answerWith((_, response) => answerError(response, 403, 'AccessDenied'))
    expect((await failure(put(open()))).hint).toContain('s3:PutObject')
    expect((await failure(get(open()))).hint).toContain('s3:GetObject')
    expect((await failure(open().delete([ref], signal))).hint).toContain('s3:DeleteObject')
    expect((await failure(collect(open().listSnapshots(generation, signal)))).hint).toContain(
      's3:ListBucket',
    )
  })

  test('no secret is in an error, even when the store sends it back', async () => {
    const client = open({
      credentials: {
        accessKeyId: 'AKID',
        secretAccessKey: new Secret('very-secret'),
        sessionToken: new Secret('session-token'),
      },
    })
    server.answerWith(({ headers }, response) =>
      answerXml(
        response,
        403,
        `<Error><Code>SignatureDoesNotMatch</Code><Message>no very-secret</Message>
         <CanonicalRequest>x-amz-security-token:${String(headers['x-amz-security-token'])}</CanonicalRequest></Error>`,
      ),
    )
    const error = await failure(put(client))
    const printed = inspect(error, { depth: 10, showHidden: true })
    expect(printed).not.toContain('very-secret')
    expect(printed).not.toContain('session-token')
    expect(inspect(client, { depth: 10 })).not.toContain('very-secret')
  })

  test('a signature that is refused after others were accepted is tried again', async () => {
    const client = open()
    await put(client)
    server.answerWith((_, response) => answerError(response, 403, 'SignatureDoesNotMatch'))
    expect((await failure(put(client))).retryable).toBe(true)
  })
})

describe('what is tried again', () => {
  test.each([
    [408, 'RequestCanceled'],
    [409, 'OperationAborted'],
    [429, 'TooManyRequests'],
    [500, 'InternalError'],
    [502, ''],
    [503, 'SlowDown'],
    [504, ''],
    [400, 'RequestTimeout'],
    [400, 'BadDigest'],
    [400, 'XAmzContentSHA256Mismatch'],
  ])('HTTP %i %s', async (status, code) => {
    server.answerWith((_, response) =>
      code === ''
        ? response.writeHead(status).end('<html>proxy</html>')
        : answerError(response, status, code),
    )
    for (const attempt of [
      () => put(open()),
      () => get(open()),
      () => open().delete([ref], signal),
    ]) {
      expect(await failure(attempt())).toMatchObject({ retryable: true })
    }
    // The vendor's client has not tried again by itself.
    expect(server.requests).toHaveLength(3)
  })

  test('a connection that is reset, and a server that is gone', async () => {
    server.answerWith((_, response) => response.destroy())
    expect(await failure(put(open()))).toMatchObject({ retryable: true })
    await server[Symbol.asyncDispose]()
    const error = await failure(put(open()))
    expect(error).toMatchObject({ retryable: true })
    expect(error.message).toContain('nothing listens at the endpoint (ECONNREFUSED)')
  })

  test.each([
    [400, 'InvalidRequest'],
    [404, 'NoSuchBucket'],
    [501, 'NotImplemented'],
  ])('but not HTTP %i %s', async (status, code) => {
    server.answerWith((_, response) => answerError(response, status, code))
    expect(await failure(put(open()))).toMatchObject({ retryable: false })
  })
})

describe('time', () => {
  test('a clock that is wrong is corrected by the answer, and the next attempt signed with the right time', async () => {
    const client = open()
    const skewMs = -3 * 60 * 60 * 1000
    const timeOf = ({ headers }: RecordedRequest) =>
      Date.parse(
        String(headers['x-amz-date']).replace(/(....)(..)(..)T(..)(..)(..)Z/, '$1-$2-$3T$4:$5:$6Z'),
      )
    server.answerWith((request, response, number) => {
      const serverTime = new Date(Date.now() + skewMs)
      response.setHeader('date', serverTime.toUTCString())
      if (Math.abs(timeOf(request) - serverTime.getTime()) < 15 * 60_000) {
        answerLikeS3(request, response, number)
      } else answerError(response, 403, 'RequestTimeTooSkewed')
    })
    const error = await failure(put(client))
    expect(error.message).toContain('the clock of this machine')
    expect(error.retryable).toBe(true)
    await put(client)
  })

  test('a server that never answers', async () => {
    server.answerWith(() => undefined)
    const error = await failure(put(open({}, { noProgressMs })))
    expect(error.message).toContain('no answer within')
    expect(error.retryable).toBe(true)
  })

  test('a listing that stalls', async () => {
    const client = open({}, { noProgressMs })
    // A link that was fast is not waited for as long as an unknown one.
    await put(client, 'x'.repeat(1_000_000))
    server.answerWith((_, response) => {
      response.writeHead(200, { 'content-type': 'application/xml' })
      response.write('<ListBucketResult>')
    })
    const error = await failure(collect(client.listSnapshots(generation, signal)))
    expect(error.retryable).toBe(true)
  })

  test('a body that stalls, one that trickles, and one that is cut off', async () => {
    const begin = (response: ServerResponse) => {
      response.writeHead(200, { 'content-length': 100, etag: '"one"' })
      response.write('0123')
    }
    const client = open({}, { noProgressMs })
    server.answerWith((_, response) => begin(response))
    expect(await failure(get(client))).toMatchObject({ retryable: true })
    server.answerWith((_, response) => {
      begin(response)
      const timer = setInterval(() => response.write('4'), noProgressMs / 10)
      response.on('close', () => clearInterval(timer))
    })
    expect(await failure(get(client))).toMatchObject({
      retryable: true,
      message: expect.stringContaining('no data came for') as string,
    })
    server.answerWith((_, response) => {
      begin(response)
      setImmediate(() => response.destroy())
    })
    expect(await failure(get(client))).toMatchObject({ retryable: true })
  })
})

describe('cancellation', () => {
  test.each(['before the answer', 'within the body'])('ends a read at once, %s', async (when) => {
    const controller = new AbortController()
    const closed = new Promise<void>((resolve) => {
      server.answerWith((_, response) => {
        response.on('close', resolve)
        if (when === 'within the body') {
          response.writeHead(200, { 'content-length': 100 })
          response.write('0123')
        }
        setTimeout(() => controller.abort(new Error('enough')), 50)
      })
    })
    await expect(collect(open().read(ref, whole, controller.signal))).rejects.toThrow('enough')
    await closed
  })

  test('ends an upload at once, and gives up its parts', async () => {
    const controller = new AbortController()
    server.answerWith((request, response, number) => {
      if (isCompletion(request)) controller.abort(new Error('enough'))
      else answerLikeS3(request, response, number)
    })
    {
      await using upload = await sendParts(open(), controller.signal)
      await expect(upload.finish()).rejects.toThrow('enough')
    }
    expect(methods()).toEqual(['POST', 'PUT', 'PUT', 'POST', 'DELETE'])
  })

  test('a body that is not wanted any more is not left open', async () => {
    const closed = new Promise<void>((resolve) => {
      server.answerWith((_, response) => {
        response.on('close', resolve)
        response.writeHead(200, { 'content-length': 1e9 })
        response.write(Buffer.alloc(100_000))
      })
    })
    for await (const chunk of open().read(ref, whole, signal)) {
      expect(chunk.byteLength).toBeGreaterThan(0)
      break
    }
    await closed
  })
})

describe('reading', () => {
  test('a body that breaks is read on with the version that was begun', async () => {
    const client = open()
    server.answerWith((_, response) => {
      response.writeHead(200, { 'content-length': 10, etag: '"one"' })
      response.write('0123')
      setImmediate(() => response.destroy())
    })
    await failure(get(client))
    server.answerWith(answerLikeS3)
    expect(await get(client, { offset: 4, length: undefined })).toBe('456789')
    expect(server.requests[1]?.headers).toMatchObject({ 'if-match': '"one"', range: 'bytes=4-' })
  })

  test.each(['refuses', 'does not know If-Match'])(
    'an object that was replaced meanwhile is noticed; the store %s',
    async (how) => {
      const client = open()
      await get(client)
      server.answerWith((_, response) => {
        if (how === 'refuses') return answerError(response, 412, 'PreconditionFailed')
        response.writeHead(206, { etag: '"two"', 'content-range': 'bytes 4-9/10' })
        response.end('xxxxxx')
      })
      const error = await failure(get(client, { offset: 4, length: undefined }))
      expect(error.message).toContain('it was replaced while it was being read')
      expect(error.retryable).toBe(false)
    },
  )

  test('what this client has written itself is read anew', async () => {
    const client = open()
    await get(client)
    await put(client)
    await get(client, { offset: 4, length: undefined })
    expect(server.requests.at(-1)?.headers['if-match']).toBeUndefined()
  })

  test('other bytes than were asked for are an error', async () => {
    server.answerWith((_, response) => response.writeHead(200).end('0123456789'))
    expect((await failure(get(open(), { offset: 4, length: 2 }))).message).toContain('other bytes')
    server.answerWith((_, response) =>
      response.writeHead(206, { 'content-range': 'bytes 4-4/10' }).end('4'),
    )
    expect((await failure(get(open(), { offset: 4, length: 2 }))).message).toContain('other bytes')
  })

  test('a range past the end yields nothing; an absent object is not found', async () => {
    server.answerWith((_, response) => answerError(response, 416, 'InvalidRange'))
    expect(await get(open(), { offset: 20, length: 5 })).toBe('')
    server.answerWith((_, response) => answerError(response, 404, 'NoSuchKey'))
    await expect(get(open())).rejects.toThrow(ObjectNotFoundError)
    await expect(get(open())).rejects.toThrow(`s3://bucket/${object}`)
  })
})

describe('finishing a large object', () => {
  const errorUnderSuccess = '<Error><Code>InternalError</Code><Message>We failed</Message></Error>'

  test.each([
    ['an error document', errorUnderSuccess],
    ['an error document with white space around', `\n   ${errorUnderSuccess}\n`],
    ['nothing', ''],
    [
      'a document that says nothing',
      '<CompleteMultipartUploadResult></CompleteMultipartUploadResult>',
    ],
  ])(
    'a success that comes with %s is a failure, and finishing again is harmless',
    async (_, body) => {
      await using upload = await sendParts(open())
      server.answerWith((_, response) =>
        body === '' ? response.writeHead(200).end() : answerXml(response, 200, body),
      )
      expect(await failure(upload.finish())).toMatchObject({ retryable: true })
      server.answerWith(answerLikeS3)
      await upload.finish()
      await upload.finish()
      expect(methods()).toEqual(['POST', 'PUT', 'PUT', 'POST', 'POST'])
    },
  )

  /** The first completion is done, but its answer gets lost; later ones are answered as by a store that has done it. */
  async function finishTwice(metadata: (sent: string) => string): Promise<void> {
    await using upload = await sendParts(open())
    const sent = String(server.requests[0]?.headers['x-amz-meta-tsreplicate-upload'])
    server.answerWith((request, response, number) => {
      if (request.method === 'HEAD') {
        response.writeHead(200, {
          'content-length': 1,
          'x-amz-meta-tsreplicate-upload': metadata(sent),
        })
        response.end()
      } else if (!isCompletion(request)) answerLikeS3(request, response, number)
      else if (number === 3) response.destroy()
      else answerError(response, 404, 'NoSuchUpload')
    })
    expect(await failure(upload.finish())).toMatchObject({ retryable: true })
    await upload.finish()
  }

  test('an answer that got lost is found out', async () => {
    await finishTwice((sent) => sent)
    expect(methods()).toEqual(['POST', 'PUT', 'PUT', 'POST', 'POST', 'HEAD'])
  })

  test('an object that was there before is not taken for the new one', async () => {
    await expect(finishTwice(() => 'another')).rejects.toThrow('no longer knows its parts')
  })

  test('a part that failed is sent again alone', async () => {
    const client = open()
    await using upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
    const first = { number: 0, bytes: Buffer.alloc(upload.partSizeBytes), last: false }
    server.answerWith((request, response, number) =>
      request.method === 'PUT'
        ? answerError(response, 503, 'SlowDown')
        : answerLikeS3(request, response, number),
    )
    expect(await failure(upload.sendPart(first))).toMatchObject({ retryable: true })
    server.answerWith(answerLikeS3)
    await upload.sendPart(first)
    await upload.sendPart({ number: 1, bytes: Buffer.from('end'), last: true })
    await upload.finish()
    expect(methods()).toEqual(['POST', 'PUT', 'PUT', 'PUT', 'POST'])
    expect(
      server.requests
        .at(-1)
        ?.body.toString()
        .match(/<PartNumber>/g),
    ).toHaveLength(2)
  })
})

describe('uploads that are given up', () => {
  test('are swept when giving them up has failed', async () => {
    const client = open()
    const upload = await sendParts(client)
    server.answerWith((_, response) => answerError(response, 503, 'SlowDown'))
    await upload[Symbol.asyncDispose]()
    server.answerWith(answerLikeS3)
    await client.sweep(signal)
    await client.sweep(signal)
    expect(methods().filter((method) => method === 'DELETE')).toHaveLength(2)
  })

  test('are found under their key when the answer to their beginning got lost', async () => {
    const client = open()
    server.answerWith((_, response) => response.destroy())
    {
      await using upload = await client.startUpload(ref, { expectedBytes: 1 }, signal)
      const bytes = Buffer.alloc(upload.partSizeBytes)
      await failure(upload.sendPart({ number: 0, bytes, last: false }))
    }
    server.answerWith((request, response, number) =>
      request.method === 'GET' && request.url.includes(`prefix=${encodeURIComponent(object)}`)
        ? answerXml(response, 200, uploadList([[object, 'lost', new Date()]]))
        : answerLikeS3(request, response, number),
    )
    await client.sweep(signal)
    const deletions = server.requests.filter(({ method }) => method === 'DELETE')
    expect(deletions.map(({ url }) => url)).toEqual([
      `/bucket/${object}?uploadId=lost&x-id=AbortMultipartUpload`,
    ])
  })

  test('only old ones of objects of ours are swept, and none that runs', async () => {
    const client = open()
    await using running = await sendParts(client)
    const longAgo = new Date(Date.now() - 25 * 60 * 60 * 1000)
    server.answerWith((request, response, number) =>
      request.method === 'GET'
        ? answerXml(
            response,
            200,
            uploadList([
              [object, 'upload-1', longAgo],
              [object, 'old', longAgo],
              [object, 'fresh', new Date()],
              [`generations/${generation}/notes`, 'foreign', longAgo],
              [`generations/${generation}/wal/00000000_00000020.wal.lz4`, 'old-segment', longAgo],
            ]),
          )
        : answerLikeS3(request, response, number),
    )
    await client.sweep(signal)
    const ids = server.requests
      .filter(({ method }) => method === 'DELETE')
      .map(({ url }) => new URL(url, 'http://x').searchParams.get('uploadId'))
    expect(ids).toEqual(['old', 'old-segment'])
    await running.finish()
  })

  test('sweeping passes where uploads cannot be listed', async () => {
    for (const [status, code] of [
      [403, 'AccessDenied'],
      [501, 'NotImplemented'],
    ] as const) {
      server.answerWith((_, response) => answerError(response, status, code))
      await open().sweep(signal)
    }
  })

  function uploadList(uploads: readonly (readonly [string, string, Date])[]): string {
    const entries = uploads.map(
      ([key, id, date]) =>
        `<Upload><Key>${encodeURIComponent(key)}</Key><UploadId>${id}</UploadId><Initiated>${date.toISOString()}</Initiated></Upload>`,
    )
    return `<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>${entries.join('')}</ListMultipartUploadsResult>`
  }
})

describe('listing', () => {
  const folder = `generations/${generation}/snapshots/`
  const entry = (name: string) =>
    `<Contents><Key>${encodeURIComponent(name)}</Key><Size>7</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified></Contents>`
  const page = (names: readonly string[], more = '') =>
    `<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>${String(more !== '')}</IsTruncated>${more}${names.map(entry).join('')}</ListBucketResult>`
  const token = (text: string) => `<NextContinuationToken>${text}</NextContinuationToken>`

  test('pages and entries come in any order', async () => {
    server.answerWith(({ url }, response) =>
      url.includes('continuation-token=t%2B1')
        ? answerXml(response, 200, page([`${folder}00000001.snapshot.lz4`, `${folder}notes`]))
        : answerXml(
            response,
            200,
            page(
              [`${folder}0000000a.snapshot.lz4`, `${folder}00000002.snapshot.lz4`],
              token('t+1'),
            ),
          ),
    )
    expect(await collect(open().listSnapshots(generation, signal))).toMatchObject([
      { index: 10, sizeBytes: 7, createdAtMs: Date.parse('2026-01-02T03:04:05Z') },
      { index: 2 },
      { index: 1 },
    ])
  })

  test.each([
    ['without a mark to go on from', ''],
    ['with the same mark again', token('same')],
  ])('a page that promises more %s is an error, not the end', async (_, next) => {
    const more = `<X></X>${next}`
    server.answerWith((_, response) => answerXml(response, 200, page([], more)))
    const error = await failure(collect(open().listSnapshots(generation, signal)))
    expect(error.message).toContain('there is more, but not where')
  })

  test('generations are shown once, however the store pages', async () => {
    const prefix = `<CommonPrefixes><Prefix>generations%2F${generation}%2F</Prefix></CommonPrefixes>`
    server.answerWith(({ url }, response) =>
      answerXml(
        response,
        200,
        `<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>${String(!url.includes('token'))}</IsTruncated>${token('t')}${prefix}</ListBucketResult>`,
      ),
    )
    expect(await collect(open().listGenerations(signal))).toEqual([generation])
  })
})

describe('deleting', () => {
  const refs = Array.from({ length: 3 }, (_, index): ObjectRef => ({ ...ref, index }))

  test.each([
    [400, 'MissingContentMD5'],
    [405, 'MethodNotAllowed'],
    [501, 'NotImplemented'],
  ])('goes one by one where many at once are refused: HTTP %i %s', async (status, code) => {
    const client = open()
    server.answerWith((request, response, number) =>
      request.method === 'POST'
        ? answerError(response, status, code)
        : answerLikeS3(request, response, number),
    )
    await client.delete(refs, signal)
    await client.delete(refs, signal)
    expect(methods()).toEqual(['POST', ...Array.from({ length: 6 }, () => 'DELETE')])
  })

  test('tells which objects could not be deleted, and whether to try again', async () => {
    const answer = (code: string) =>
      `<DeleteResult><Error><Key>${object}</Key><Code>${code}</Code><Message>no</Message></Error>
       <Error><Key>gone</Key><Code>NoSuchKey</Code></Error></DeleteResult>`
    server.answerWith((_, response) => answerXml(response, 200, answer('AccessDenied')))
    const denied = await failure(open().delete(refs, signal))
    expect(denied.message).toContain(`cannot delete s3://bucket/${object} `)
    expect(denied.message).toContain('permission denied')
    expect(denied.retryable).toBe(false)
    server.answerWith((_, response) => answerXml(response, 200, answer('SlowDown')))
    expect(await failure(open().delete(refs, signal))).toMatchObject({ retryable: true })
    server.answerWith((_, response) => answerXml(response, 200, answer('NoSuchKey')))
    await open().delete(refs, signal)
  })

  test('sends at most 1000 at once, and all of them though some fail', async () => {
    const many = Array.from({ length: 2001 }, (_, index): ObjectRef => ({
      kind: 'snapshot',
      generation,
      index,
    }))
    server.answerWith((request, response, number) =>
      number === 0
        ? answerError(response, 503, 'SlowDown')
        : answerLikeS3(request, response, number),
    )
    await failure(open().delete(many, signal))
    const counts = server.requests.map(({ body }) => body.toString().match(/<Key>/g)?.length)
    expect(counts).toEqual([1000, 1000, 1])
  })
})

describe('the region', () => {
  const inRegion = (region: string) => (request: RecordedRequest) =>
    request.headers.authorization?.includes(`/${region}/s3/`) === true

  test.each([
    ['the header of a redirect', 301, 'PermanentRedirect', true],
    ['the header of a refusal', 400, 'AuthorizationHeaderMalformed', true],
    ['the body of a refusal', 400, 'AuthorizationHeaderMalformed', false],
  ])('is learnt from %s, once', async (_, status, code, inHeader) => {
    const client = open({ region: undefined })
    const isRight = inRegion('eu-central-9')
    server.answerWith((request, response, number) => {
      if (isRight(request)) return answerLikeS3(request, response, number)
      if (inHeader) response.setHeader('x-amz-bucket-region', 'eu-central-9')
      const region = inHeader ? '' : '<Region>eu-central-9</Region>'
      answerXml(
        response,
        status,
        `<Error><Code>${code}</Code><Message>m</Message>${region}</Error>`,
      )
    })
    await put(client)
    await put(client)
    expect(server.requests.map(isRight)).toEqual([false, true, true])
  })

  test('is asked for where a refusal does not name it', async () => {
    const client = open({ region: undefined, provider: 'aws' })
    const isRight = inRegion('eu-west-1')
    server.answerWith((request, response, number) => {
      if (request.url.includes('location')) {
        answerXml(
          response,
          200,
          '<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">EU</LocationConstraint>',
        )
      } else if (isRight(request)) answerLikeS3(request, response, number)
      else answerError(response, 400, 'AuthorizationHeaderMalformed')
    })
    await put(client)
    expect(server.requests).toHaveLength(3)
  })

  test('that stays wrong is an error that says so', async () => {
    server.answerWith((_, response) => {
      response.setHeader('x-amz-bucket-region', 'eu-central-9')
      answerError(response, 301, 'PermanentRedirect')
    })
    const error = await failure(put(open()))
    expect(error.message).toContain('the bucket is in another region')
    expect(error.retryable).toBe(false)
    expect(server.requests).toHaveLength(2)
  })
})
