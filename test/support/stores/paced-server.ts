/**
 * A store of one object that answers reads in pieces: the next one is sent when the client has got the one before, so
 * that a body is cut where a test says. Its answers will do for S3, Google and Azure.
 */
import { createServer, type ServerResponse } from 'node:http'
import { type AddressInfo } from 'node:net'

export interface PacedServer extends AsyncDisposable {
  readonly endpoint: string
  /** What is served from now on, and where it is cut. */
  serve(bytes: Uint8Array, cuts: readonly number[]): void
  /** The client has got that much of the body. */
  received(sizeBytes: number): void
}

export async function startPacedServer(): Promise<PacedServer> {
  let object: Uint8Array = new Uint8Array(0)
  let cuts: readonly number[] = []
  let receivedBytes = 0
  let wake: (() => void) | undefined

  const answer = async (range: string | undefined, response: ServerResponse): Promise<void> => {
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? []
    const start = Number(first ?? 0)
    const end = last === undefined || last === '' ? object.length : Number(last) + 1
    const part = object.subarray(start, end)
    response.writeHead(first === undefined ? 200 : 206, {
      etag: '"one"',
      'content-length': part.length,
      ...(first === undefined
        ? {}
        : { 'content-range': `bytes ${start}-${start + part.length - 1}/${object.length}` }),
    })
    receivedBytes = 0
    let sentBytes = 0
    for (const cut of [...cuts.map((at) => at - start), part.length]) {
      if (cut <= sentBytes || cut > part.length) continue
      response.write(part.subarray(sentBytes, cut))
      sentBytes = cut
      while (receivedBytes < sentBytes) await new Promise<void>((resolve) => (wake = resolve))
    }
    response.end()
  }

  const server = createServer((request, response) => {
    response.socket?.setNoDelay(true)
    void answer(request.headers.range ?? request.headers['x-ms-range']?.toString(), response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    serve(bytes, at) {
      object = bytes
      cuts = at
    },
    received(sizeBytes) {
      receivedBytes += sizeBytes
      wake?.()
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
