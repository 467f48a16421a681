/**
 * The threads' side of building an image. Objects are decoded and verified as they come, several at once; their pages
 * are written when it is the object's turn, which shared memory tells. Until then the verified frames are held, up to a
 * bound; past it, decoding goes on in the object's turn only.
 */
import { ftruncateSync } from 'node:fs'
import { type MessagePort } from 'node:worker_threads'
import { CorruptionError } from '../../domain/errors.js'
import { SegmentVerifier } from '../../domain/wal/segment-verifier.js'
import { refusePages, snapshotPageSize } from '../../domain/stored/content-bounds.js'
import { freeMemory } from '../../kit/free-memory.js'
import {
  type ImageReply,
  type ImageRequest,
  type ImageTask,
  sharedPageCount,
  sharedTurn,
} from './image-messages.js'
import { ObjectBody } from './object-body.js'
import { PageWriter, writeFully } from './page-writer.js'

const maxHeldBytes = 4 * 1024 * 1024

/**
 * Decompresses the body of an object and throws {@link CorruptionError} unless it is whole. Without `verifyContent`, the
 * checksum of the content is passed over: the frames of a segment prove themselves.
 * Nobody else uses the memory of what it yields.
 */
export type DecodeObject = (
  source: AsyncIterable<Uint8Array>,
  options: { readonly verifyContent: boolean },
) => AsyncIterable<Uint8Array>

/** Serves the requests of the main thread until the thread is ended. */
export function serveImageThread(port: MessagePort, decode: DecodeObject): void {
  const reply = (message: ImageReply): void => port.postMessage(message)
  const bodies = new Map<number, ObjectBody>()
  let builder: ImageBuilder | undefined
  const start = async (turn: number, task: ImageTask, body: ObjectBody): Promise<void> => {
    if (builder === undefined) throw new Error('the image is not open')
    try {
      if (task.kind === 'snapshot') await builder.snapshot(turn, task, body)
      else await builder.segment(turn, task, body)
    } catch (error) {
      // Anything else is a bug, and ends the thread.
      if (!(error instanceof Error) || !('syscall' in error)) throw error
      reply({ kind: 'failed', message: error.message })
    } finally {
      bodies.delete(turn)
    }
  }
  port.on('message', (request: ImageRequest) => {
    switch (request.kind) {
      case 'open':
        builder = new ImageBuilder(request, decode, reply)
        return
      case 'start': {
        const { turn } = request
        const body = new ObjectBody((sizeBytes) => reply({ kind: 'used', turn, sizeBytes }))
        bodies.set(turn, body)
        void start(turn, request.task, body)
        return
      }
      case 'bytes':
        bodies.get(request.turn)?.push(request.chunks, request.isLast)
    }
  })
}

/** A decoded block and the verified frames that end in it. */
interface HeldBlock {
  readonly block: Uint8Array
  readonly runs: readonly Uint8Array[]
}

class ImageBuilder {
  readonly #fd: number
  readonly #shared: Int32Array
  readonly #decode: DecodeObject
  readonly #reply: (message: ImageReply) => void
  readonly #pages: PageWriter
  readonly #maxPageCount: number
  #heldBytes = 0

  constructor(
    { fd, shared, maxPageCount }: Extract<ImageRequest, { kind: 'open' }>,
    decode: DecodeObject,
    reply: (message: ImageReply) => void,
  ) {
    this.#fd = fd
    this.#shared = new Int32Array(shared)
    this.#decode = decode
    this.#reply = reply
    this.#pages = new PageWriter(fd, maxPageCount)
    this.#maxPageCount = maxPageCount
  }

  async snapshot(
    turn: number,
    { mostBytes }: Extract<ImageTask, { kind: 'snapshot' }>,
    body: ObjectBody,
  ): Promise<void> {
    let pageSizeBytes: number | undefined
    let sizeBytes = 0
    const problem = await problemOf(async () => {
      for await (const block of this.#decode(body, { verifyContent: true })) {
        if (sizeBytes === 0) pageSizeBytes = snapshotPageSize(block)
        if (sizeBytes + block.length > mostBytes) {
          throw new CorruptionError(`it has more content than its trailer says, ${mostBytes} bytes`)
        }
        writeFully(this.#fd, block, sizeBytes)
        sizeBytes += block.length
        freeMemory(block)
      }
    })
    if (problem === undefined) this.#endTurn(turn)
    const { trailer } = body
    this.#reply({
      kind: 'snapshot',
      turn,
      decoded: { pageSizeBytes, sizeBytes, trailer, problem },
    })
  }

  async segment(
    turn: number,
    task: Extract<ImageTask, { kind: 'segment' }>,
    body: ObjectBody,
  ): Promise<void> {
    const verifier = new SegmentVerifier(task.start)
    const held: HeldBlock[] = []
    let isOurTurn = false
    let headerIsTold = task.start.header !== undefined
    const takeTurn = async (): Promise<void> => {
      if (isOurTurn) return
      await this.#turn(turn)
      isOurTurn = true
      // Neighbouring indexes of a database have pages of the same size, or the restore fails.
      if (!task.endsIndex || verifier.header === undefined) return
      const pageCount = (this.#shared[sharedPageCount] ?? 0) >>> 0
      ftruncateSync(this.#fd, pageCount * verifier.header.pageSizeBytes)
    }
    // A block more of each object that waits would be too much.
    if (this.#heldBytes > maxHeldBytes) await this.#turn(turn)
    const problem = await problemOf(async () => {
      for await (const block of this.#decode(body, { verifyContent: false })) {
        held.push({ block, runs: verifier.push(block) })
        this.#heldBytes += block.length
        if (!headerIsTold && verifier.header !== undefined) {
          headerIsTold = true
          this.#reply({ kind: 'header', turn, header: verifier.header })
        }
        if (this.#heldBytes > maxHeldBytes) await takeTurn()
        if (isOurTurn) this.#write(held, verifier)
      }
      verifier.end()
      await takeTurn()
      this.#write(held, verifier)
      const { commit } = verifier.content
      if (commit !== undefined) refusePages(commit.pageCount, this.#maxPageCount)
      if (commit !== undefined) Atomics.store(this.#shared, sharedPageCount, commit.pageCount | 0)
      this.#endTurn(turn)
    })
    const { content } = verifier
    this.#reply({
      kind: 'segment',
      turn,
      decoded: { content, trailer: body.trailer, problem },
    })
  }

  #write(held: HeldBlock[], { header }: SegmentVerifier): void {
    for (const { block, runs } of held.splice(0)) {
      for (const run of runs) {
        if (header !== undefined) this.#pages.write(run, header.pageSizeBytes)
      }
      this.#heldBytes -= block.length
      freeMemory(block)
    }
  }

  async #turn(turn: number): Promise<void> {
    for (;;) {
      const current = Atomics.load(this.#shared, sharedTurn)
      if (current === turn) return
      await Atomics.waitAsync(this.#shared, sharedTurn, current).value
    }
  }

  #endTurn(turn: number): void {
    Atomics.store(this.#shared, sharedTurn, turn + 1)
    Atomics.notify(this.#shared, sharedTurn)
  }
}

/** What is wrong with an object; other failures are thrown on. */
async function problemOf(work: () => Promise<void>): Promise<string | undefined> {
  try {
    await work()
    return undefined
  } catch (error) {
    if (error instanceof CorruptionError) return error.message
    throw error
  }
}
