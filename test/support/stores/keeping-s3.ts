/** An S3 store in memory, as much of one as either program asks for. */
import { createHash } from 'node:crypto'
import { type Answerer, answerError, answerXml } from './scripted-s3.ts'

export interface KeepingS3 {
  /** By bucket and key. */
  readonly objects: ReadonlyMap<string, Buffer>
  readonly answer: Answerer
}

export function createKeepingS3(): KeepingS3 {
  const objects = new Map<string, Buffer>()
  const etagOf = (bytes: Buffer): string => `"${createHash('md5').update(bytes).digest('hex')}"`
  const answer: Answerer = ({ method, url, headers, body }, response) => {
    const { pathname, searchParams: query } = new URL(url, 'http://x')
    const name = decodeURIComponent(pathname).replace(/^\//, '')
    const [bucket = '', ...rest] = name.split('/')
    const bytes = objects.get(name)
    const etag = bytes === undefined ? undefined : etagOf(bytes)
    if (query.has('uploads')) {
      answerXml(response, 200, '<ListMultipartUploadsResult></ListMultipartUploadsResult>')
    } else if (method === 'POST' && query.has('delete')) {
      for (const [, key] of body.toString().matchAll(/<Key>(.*?)<\/Key>/g)) {
        objects.delete(`${bucket}/${key}`)
      }
      answerXml(response, 200, '<DeleteResult></DeleteResult>')
    } else if (method === 'GET' && rest.join('/') === '') {
      answerXml(response, 200, listing(objects, bucket, query))
    } else if (method === 'PUT') {
      const wanted = headers['if-match']
      if (
        (headers['if-none-match'] === '*' && bytes !== undefined) ||
        (wanted !== undefined && wanted !== etag)
      ) {
        answerError(response, 412, 'PreconditionFailed')
        return
      }
      objects.set(name, body)
      response.writeHead(200, { etag: etagOf(body) }).end()
    } else if (method === 'DELETE') {
      objects.delete(name)
      response.writeHead(204).end()
    } else if (bytes === undefined || etag === undefined) {
      answerError(response, 404, 'NoSuchKey')
    } else {
      const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(headers.range ?? '') ?? []
      const from = first === '' ? (last === '' ? 0 : bytes.length - Number(last)) : Number(first)
      const to = first === '' || last === '' ? bytes.length : Number(last) + 1
      const part = bytes.subarray(Math.max(0, from), to)
      const range = `bytes ${from}-${from + part.length - 1}/${bytes.length}`
      response.writeHead(headers.range === undefined ? 200 : 206, {
        etag,
        'content-length': part.length,
        'last-modified': new Date().toUTCString(),
        ...(headers.range === undefined ? {} : { 'content-range': range }),
      })
      response.end(method === 'HEAD' ? undefined : part)
    }
  }
  return { objects, answer }
}

function listing(
  objects: ReadonlyMap<string, Buffer>,
  bucket: string,
  query: URLSearchParams,
): string {
  const prefix = query.get('prefix') ?? ''
  const delimiter = query.get('delimiter') ?? ''
  const folders = new Set<string>()
  const contents: string[] = []
  for (const [name, bytes] of [...objects].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const key = name.slice(bucket.length + 1)
    if (!name.startsWith(`${bucket}/`) || !key.startsWith(prefix)) continue
    const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
    if (end >= 0) folders.add(key.slice(0, end + 1))
    else {
      const time = new Date().toISOString()
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
