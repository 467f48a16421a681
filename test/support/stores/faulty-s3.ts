/**
 * A store that is not what it says: it loses what it has acknowledged, stores it late, twice, cut short, or though it
 * said that it failed; its listings lag and its clock is apart. What is there at a moment can be kept and restored from.
 */
import { type ServerResponse } from 'node:http'
import { createKeepingS3, etagOf, type KeptObject, type Reply, s3Error } from './keeping-s3.ts'
import { type RecordedRequest, startScriptedS3 } from './scripted-s3.ts'

export type WriteFault =
  /** Acknowledged, and never stored. */
  | { readonly kind: 'lost' }
  /** Acknowledged, and stored later. */
  | { readonly kind: 'late'; readonly afterMs: number }
  /** Stored, and later once more, whatever is there by then. */
  | { readonly kind: 'doubled'; readonly afterMs: number }
  /** Acknowledged, and stored up to there. */
  | { readonly kind: 'cut'; readonly atBytes: number }
  /** Stored, and said to have failed, or never answered. */
  | { readonly kind: 'failed though done'; readonly how: 'said' | 'reset' }
  /** Never answered, and stored later or never. */
  | { readonly kind: 'hangs'; readonly landsAfterMs: number | undefined }
  | { readonly kind: 'refused' }

export type ReadFault =
  | { readonly kind: 'cut'; readonly atBytes: number }
  | { readonly kind: 'in pieces'; readonly pieceBytes: number }
  | { readonly kind: 'refused' }

export interface FaultyRequest {
  readonly kind: 'write' | 'delete' | 'read' | 'list'
  /** Relative to the bucket. */
  readonly key: string
  readonly of: 'owner' | 'snapshot' | 'segment' | 'other'
  readonly sizeBytes: number
}

/** What happens to requests; undefined: they are carried out. */
export interface Faults {
  write?(request: FaultyRequest): WriteFault | undefined
  read?(request: FaultyRequest): ReadFault | undefined
  /** How long a listing does not show what was stored, or goes on to show what was deleted. */
  listingLagMs?(request: FaultyRequest): number
  /** How far the clock of the store is ahead. */
  readonly aheadMs?: number
}

export interface FaultyS3 extends AsyncDisposable {
  readonly endpoint: string
  /** What happened, for whoever has to find out. */
  readonly events: readonly string[]
  /** What comes from now on is treated so; `{}`: all is well. */
  follow(faults: Faults): void
  /** Whether nothing is on its way any more: what is to be stored later is, and listings show what is there. */
  readonly isSettled: boolean
  /** What a reader finds at this moment, kept in a bucket of this name on a store without faults. */
  keep(bucket: string): void
  drop(bucket: string): void
  /** Of that store. */
  readonly keptEndpoint: string
}

export const faultyBucket = 'bucket'

export async function startFaultyS3(): Promise<FaultyS3> {
  let faults: Faults = {}
  const startedAtMs = Date.now()
  const events: string[] = []
  const note = (text: string): void => {
    events.push(`${((Date.now() - startedAtMs) / 1000).toFixed(2)} ${text}`)
  }
  const timers = new Set<NodeJS.Timeout>()
  const later = (afterMs: number, action: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer)
      action()
    }, afterMs)
    timers.add(timer)
  }
  /** What a listing shows lags behind what is there. */
  const listed = new Map<string, KeptObject>()
  const now = (): number => Date.now() + (faults.aheadMs ?? 0)
  const store = createKeepingS3({ now, listed: () => listed })
  const kept = createKeepingS3({ listed: () => keptListing })
  const keptListing = new Map<string, KeptObject>()

  /** Carries a request out, and lets listings know. */
  const carryOut = (request: RecordedRequest, asked: FaultyRequest): Reply => {
    const before = new Map(store.objects)
    const reply = store.reply(request)
    const lagMs = faults.listingLagMs?.(asked) ?? 0
    const show = (): void => {
      for (const name of new Set([...before.keys(), ...store.objects.keys()])) {
        if (before.get(name) === store.objects.get(name)) continue
        const object = store.objects.get(name)
        if (object === undefined) listed.delete(name)
        else listed.set(name, object)
      }
    }
    if (lagMs === 0) show()
    else later(lagMs, show)
    return reply
  }

  const answerWrite = (
    request: RecordedRequest,
    asked: FaultyRequest,
    fault: WriteFault,
    response: ServerResponse,
  ): void => {
    note(`${JSON.stringify(fault)}: ${asked.key} of ${asked.sizeBytes}`)
    const stored: Reply = {
      status: 200,
      headers: { etag: etagOf(request.body) },
      body: Buffer.alloc(0),
    }
    const land = (): void => {
      const { status } = carryOut(request, asked)
      note(`lands with ${status}: ${asked.key}`)
    }
    switch (fault.kind) {
      case 'lost':
        return send(response, stored)
      case 'late':
        later(fault.afterMs, land)
        return send(response, stored)
      case 'doubled':
        later(fault.afterMs, land)
        return send(response, carryOut(request, asked))
      case 'cut': {
        const body = request.body.subarray(0, fault.atBytes)
        const reply = carryOut({ ...request, body }, asked)
        return send(response, reply.status === 200 ? stored : reply)
      }
      case 'failed though done':
        carryOut(request, asked)
        if (fault.how === 'reset') response.socket?.resetAndDestroy()
        else send(response, s3Error(500, 'InternalError'))
        return
      case 'hangs':
        if (fault.landsAfterMs !== undefined) later(fault.landsAfterMs, land)
        return
      case 'refused':
        return send(response, s3Error(503, 'SlowDown'))
    }
  }

  const answerRead = (reply: Reply, fault: ReadFault, response: ServerResponse): void => {
    switch (fault.kind) {
      case 'refused':
        return send(response, s3Error(503, 'SlowDown'))
      case 'cut':
        response.writeHead(reply.status, { ...reply.headers, 'content-length': reply.body.length })
        response.write(reply.body.subarray(0, fault.atBytes), () => response.destroy())
        return
      case 'in pieces':
        void sendPieces(response, reply, fault.pieceBytes)
    }
  }

  const server = await startScriptedS3()
  server.answerWith((request, response) => {
    response.setHeader('date', new Date(now()).toUTCString())
    const asked = describe(request)
    if (asked.kind === 'write' || asked.kind === 'delete') {
      const fault = asked.kind === 'write' ? faults.write?.(asked) : undefined
      if (fault === undefined) send(response, carryOut(request, asked))
      else answerWrite(request, asked, fault, response)
      return
    }
    const fault = faults.read?.(asked)
    const reply = store.reply(request)
    if (fault === undefined || reply.status >= 400) send(response, reply)
    else answerRead(reply, fault, response)
  })
  const keptServer = await startScriptedS3()
  keptServer.answerWith(kept.answer)

  return {
    endpoint: server.endpoint,
    keptEndpoint: keptServer.endpoint,
    events,
    follow: (next) => (faults = next),
    get isSettled() {
      return timers.size === 0
    },
    keep(bucket) {
      for (const [from, to] of [
        [store.objects, kept.objects],
        [listed, keptListing],
      ] as const) {
        for (const [name, object] of from) to.set(name.replace(faultyBucket, bucket), object)
      }
    },
    drop(bucket) {
      for (const objects of [kept.objects, keptListing]) {
        for (const name of objects.keys()) if (name.startsWith(`${bucket}/`)) objects.delete(name)
      }
    },
    [Symbol.asyncDispose]: async () => {
      for (const timer of timers) clearTimeout(timer)
      await server[Symbol.asyncDispose]()
      await keptServer[Symbol.asyncDispose]()
    },
  }
}

function describe({ method, url, body }: RecordedRequest): FaultyRequest {
  const { pathname, searchParams: query } = new URL(url, 'http://x')
  const key = decodeURIComponent(pathname).replace(/^\/[^/]*\/?/, '')
  const of = key.includes('/snapshots/')
    ? 'snapshot'
    : key.includes('/wal/')
      ? 'segment'
      : key.endsWith('owner.json')
        ? 'owner'
        : 'other'
  const kind =
    method === 'PUT'
      ? 'write'
      : method === 'DELETE' || query.has('delete')
        ? 'delete'
        : key === ''
          ? 'list'
          : 'read'
  return { kind, key, of, sizeBytes: body.length }
}

function send(response: ServerResponse, { status, headers, body }: Reply): void {
  response.writeHead(status, headers).end(body)
}

async function sendPieces(
  response: ServerResponse,
  { status, headers, body }: Reply,
  pieceBytes: number,
): Promise<void> {
  response.socket?.setNoDelay(true)
  response.writeHead(status, { ...headers, 'content-length': body.length })
  for (let at = 0; at < body.length && !response.destroyed; at += pieceBytes) {
    response.write(body.subarray(at, at + pieceBytes))
    await new Promise((resolve) => setImmediate(resolve))
  }
  response.end()
}
