/** A server that records what it is asked and answers what a test says, to see exactly what goes over the wire. */
import {
  createServer,
  type IncomingHttpHeaders,
  type RequestListener,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo } from 'node:net'

export interface RecordedRequest {
  readonly method: string
  /** Path and query. */
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** Answers a request; `number` counts from 0. */
export type Answerer = (request: RecordedRequest, response: ServerResponse, number: number) => void

export interface ScriptedS3 extends AsyncDisposable {
  readonly endpoint: string
  readonly requests: readonly RecordedRequest[]
  /** Made so far. */
  readonly connectionCount: number
  /** What comes from now on is answered so. */
  answerWith(answerer: Answerer): void
}

/** With a key and a certificate it speaks TLS. */
export async function startScriptedS3(tls?: {
  readonly key: string
  readonly cert: string
}): Promise<ScriptedS3> {
  const requests: RecordedRequest[] = []
  let answer = answerLikeS3
  const listener: RequestListener = (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const recorded = {
        method: request.method ?? '',
        url: request.url ?? '',
        headers: request.headers,
        body: Buffer.concat(chunks),
      }
      requests.push(recorded)
      answer(recorded, response, requests.length - 1)
    })
  }
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener)
  let connectionCount = 0
  server.on(tls === undefined ? 'connection' : 'secureConnection', () => (connectionCount += 1))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))

  const { port } = server.address() as AddressInfo
  return {
    endpoint: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    requests,
    get connectionCount() {
      return connectionCount
    },
    answerWith: (answerer) => (answer = answerer),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export function answerXml(response: ServerResponse, status: number, xml: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' })
  response.end(`<?xml version="1.0" encoding="UTF-8"?>\n${xml}`)
}

export function answerError(
  response: ServerResponse,
  status: number,
  code: string,
  message = 'the test says so',
): void {
  answerXml(response, status, `<Error><Code>${code}</Code><Message>${message}</Message></Error>`)
}

/** Success for every request there is. */
export const answerLikeS3: Answerer = ({ method, url, headers, body }, response) => {
  const query = new URL(url, 'http://x').searchParams
  if (method === 'POST' && query.has('uploads')) {
    answerXml(
      response,
      200,
      '<InitiateMultipartUploadResult><UploadId>upload-1</UploadId></InitiateMultipartUploadResult>',
    )
  } else if (method === 'POST' && query.has('uploadId')) {
    answerXml(
      response,
      200,
      '<CompleteMultipartUploadResult><Key>k</Key><ETag>"x-2"</ETag></CompleteMultipartUploadResult>',
    )
  } else if (method === 'POST' && query.has('delete')) {
    answerXml(response, 200, '<DeleteResult></DeleteResult>')
  } else if (method === 'PUT') {
    response.writeHead(200, { etag: '"5d41402abc4b2a76b9719d911017c592"' })
    response.end()
  } else if (method === 'DELETE') {
    response.writeHead(204)
    response.end()
  } else if (query.has('uploads')) {
    answerXml(response, 200, '<ListMultipartUploadsResult></ListMultipartUploadsResult>')
  } else if (query.has('list-type')) {
    answerXml(
      response,
      200,
      '<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>',
    )
  } else {
    const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '')
    const all = body.length > 0 ? body : Buffer.from('0123456789')
    const from = Number(range?.[1] ?? 0)
    const part = all.subarray(from, range?.[2] ? Number(range[2]) + 1 : undefined)
    response.writeHead(range === null ? 200 : 206, {
      etag: '"one"',
      'content-length': part.length,
      ...(range === null
        ? {}
        : { 'content-range': `bytes ${from}-${from + part.length - 1}/${all.length}` }),
    })
    response.end(part)
  }
}
