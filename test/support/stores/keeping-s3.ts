/** An S3 store in memory, as much of one as either program asks for. */
import { createHash } from 'node:crypto'
import { type OutgoingHttpHeaders } from 'node:http'
import { type Answerer, type RecordedRequest } from './scripted-s3.ts'

export interface KeptObject {
  readonly bytes: Buffer
  readonly createdAtMs: number
}

export interface Reply {
  readonly status: number
  readonly headers: OutgoingHttpHeaders
  readonly body: Buffer
}

export interface KeepingS3 {
  /** By bucket and key. */
  readonly objects: Map<string, KeptObject>
  /** Does what is asked. */
  reply(request: RecordedRequest): Reply
  readonly answer: Answerer
}

export interface KeepingS3Options {
  /** The clock of the store. */
  readonly now?: () => number
  /** What a listing shows, where that is not what is there. */
  readonly listed?: () => ReadonlyMap<string, KeptObject>
}

export function createKeepingS3({ now = Date.now, listed }: KeepingS3Options = {}): KeepingS3 {
  const objects = new Map<string, KeptObject>()
  const reply: KeepingS3['reply'] = ({ method, url, headers, body }) => {
    const { pathname, searchParams: query } = new URL(url, 'http://x')
    const name = decodeURIComponent(pathname).replace(/^\//, '')
    const [bucket = '', ...rest] = name.split('/')
    const object = objects.get(name)
    const etag = object === undefined ? undefined : etagOf(object.bytes)
    if (query.has('uploads')) {
      return xml(200, '<ListMultipartUploadsResult></ListMultipartUploadsResult>')
    }
    if (method === 'POST' && query.has('delete')) {
      for (const [, key] of body.toString().matchAll(/<Key>(.*?)<\/Key>/g)) {
        objects.delete(`${bucket}/${key}`)
      }
      return xml(200, '<DeleteResult></DeleteResult>')
    }
    if (method === 'GET' && rest.join('/') === '') {
      return xml(200, listing(listed?.() ?? objects, bucket, query))
    }
    if (method === 'PUT') {
      const wanted = headers['if-match']
      if (
        (headers['if-none-match'] === '*' && object !== undefined) ||
        (wanted !== undefined && wanted !== etag)
      ) {
        return s3Error(412, 'PreconditionFailed')
      }
      objects.set(name, { bytes: body, createdAtMs: now() })
      return { status: 200, headers: { etag: etagOf(body) }, body: Buffer.alloc(0) }
    }
    if (method === 'DELETE') {
      objects.delete(name)
      return { status: 204, headers: {}, body: Buffer.alloc(0) }
    }
    if (object === undefined || etag === undefined) return s3Error(404, 'NoSuchKey')
    const { bytes, createdAtMs } = object
    const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(headers.range ?? '') ?? []
    const from = first === '' ? (last === '' ? 0 : bytes.length - Number(last)) : Number(first)
    const to = first === '' || last === '' ? bytes.length : Number(last) + 1
    if (headers.range !== undefined && from >= bytes.length) return s3Error(416, 'InvalidRange')
    const part = bytes.subarray(Math.max(0, from), to)
    const range = `bytes ${from}-${from + part.length - 1}/${bytes.length}`
    return {
      status: headers.range === undefined ? 200 : 206,
      headers: {
        etag,
        'content-length': part.length,
        'last-modified': new Date(createdAtMs).toUTCString(),
        ...(headers.range === undefined ? {} : { 'content-range': range }),
      },
      body: method === 'HEAD' ? Buffer.alloc(0) : part,
    }
  }
  return {
    objects,
    reply,
    answer: (request, response) => {
      const { status, headers, body } = reply(request)
      response.writeHead(status, headers).end(body)
    },
  }
}

export function etagOf(bytes: Buffer): string {
  return `"${createHash('md5').update(bytes).digest('hex')}"`
}

export function s3Error(status: number, code: string): Reply {
  return xml(status, `<Error><Code>${code}</Code><Message>the test says so</Message></Error>`)
}

function xml(status: number, content: string): Reply {
  const body = Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${content}`)
  return { status, headers: { 'content-type': 'application/xml' }, body }
}

function listing(
  objects: ReadonlyMap<string, KeptObject>,
  bucket: string,
  query: URLSearchParams,
): string {
  const prefix = query.get('prefix') ?? ''
  const delimiter = query.get('delimiter') ?? ''
  const after = query.get('start-after') ?? ''
  const folders = new Set<string>()
  const contents: string[] = []
  for (const [name, { bytes, createdAtMs }] of [...objects].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const key = name.slice(bucket.length + 1)
    if (!name.startsWith(`${bucket}/`) || !key.startsWith(prefix) || key <= after) continue
    const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
    if (end >= 0) folders.add(key.slice(0, end + 1))
    else {
      const time = new Date(createdAtMs).toISOString()
      contents.push(
        `<Contents><Key>${key}</Key><LastModified>${time}</LastModified><ETag>"x"</ETag><Size>${bytes.length}</Size></Contents>`,
      )
    }
  }
  const common = [...folders].map(
    (each) => `<CommonPrefixes><Prefix>${each}</Prefix></CommonPrefixes>`,
  )
  return `<ListBucketResult><Name>${bucket}</Name><Prefix>${prefix}</Prefix><IsTruncated>false</IsTruncated>${contents.join('')}${common.join('')}</ListBucketResult>`
}
