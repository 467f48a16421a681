import { Worker } from 'node:worker_threads'
import { OutputError } from '../../domain/errors.js'
import { type WalHeader } from '../../domain/wal/wal-format.js'
import { messageOf } from '../../kit/error-text.js'
import {
  type DecodedSegment,
  type DecodedSnapshot,
  type ImageInput,
  type SegmentInput,
} from '../../usecase/ports/database-image.js'
import { ByteBudget } from './byte-budget.js'
import {
  type ImageReply,
  type ImageRequest,
  type ImageTask,
  sharedBytes,
} from './image-messages.js'

/** This much may wait in the threads for being decoded: of a snapshot, which one of them has, and of segments. */
const maxWaitingBytes = { snapshot: 2 * 1024 * 1024, segments: 4 * 1024 * 1024 }
/** A thread handles few objects; the usual 48 MB would be filled with them before any is collected. */
const maxYoungGenerationSizeMb = 2
/** Segments begun and not yet written. Few, because a turn that ends wakes all that wait for theirs. */
const maxStarted = 12

/** The threads that build one image, as the main thread sees them. */
export class ImageThreads {
  readonly #threads: ImageThread[]
  readonly #snapshotBudget = new ByteBudget(maxWaitingBytes.snapshot)
  readonly #segmentBudget = new ByteBudget(maxWaitingBytes.segments)
  readonly #places = new ByteBudget(maxStarted)
  #nextTurn = 0

  constructor(options: { entry: URL; count: number; outputPath: string }) {
    this.#threads = Array.from(
      { length: options.count },
      () => new ImageThread(options.entry, options.outputPath),
    )
  }

  open(file: { readonly fd: number; readonly maxPageCount: number }): void {
    const shared = new SharedArrayBuffer(sharedBytes)
    for (const thread of this.#threads) thread.send({ kind: 'open', ...file, shared })
  }

  snapshot(task: Extract<ImageTask, { kind: 'snapshot' }>): ImageInput<DecodedSnapshot> {
    const input = this.#start(task, this.#snapshotBudget)
    const decoded = input.snapshot.promise
    return { push: (chunks, isLast) => input.push(chunks, isLast), decoded }
  }

  async segment(task: Extract<ImageTask, { kind: 'segment' }>): Promise<SegmentInput> {
    const input = this.#start(task, this.#segmentBudget)
    const decoded = input.segment.promise.finally(() => this.#places.give(1))
    decoded.catch(() => undefined)
    await this.#places.take(1)
    return {
      push: (chunks, isLast) => input.push(chunks, isLast),
      decoded,
      header: input.header.promise,
    }
  }

  /** Resolves when no thread touches the file any more. */
  async end(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.end()))
  }

  #start(task: ImageTask, budget: ByteBudget): Input {
    const thread = this.#threads.reduce((a, b) => (b.waitingBytes < a.waitingBytes ? b : a))
    return thread.start(this.#nextTurn++, task, budget)
  }
}

/** One object in a thread. Only the promise of its kind is ever settled with a value. */
class Input {
  readonly snapshot = handled(Promise.withResolvers<DecodedSnapshot>())
  readonly segment = handled(Promise.withResolvers<DecodedSegment>())
  readonly header = handled(Promise.withResolvers<WalHeader | undefined>())
  readonly #turn: number
  readonly #thread: ImageThread
  readonly #budget: ByteBudget
  #waitingBytes = 0

  constructor(turn: number, thread: ImageThread, budget: ByteBudget) {
    this.#turn = turn
    this.#thread = thread
    this.#budget = budget
  }

  async push(chunks: readonly Uint8Array[], isLast: boolean): Promise<void> {
    const sizeBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    this.#waitingBytes += sizeBytes
    this.#thread.waitingBytes += sizeBytes
    const memory = new Set(chunks.map((chunk) => chunk.buffer))
    const given = [...memory].filter((buffer) => buffer instanceof ArrayBuffer)
    this.#thread.send({ kind: 'bytes', turn: this.#turn, chunks, isLast }, given)
    await this.#budget.take(sizeBytes)
  }

  used(sizeBytes: number): void {
    this.#waitingBytes -= sizeBytes
    this.#thread.waitingBytes -= sizeBytes
    this.#budget.give(sizeBytes)
  }

  /** The whole body has been used. */
  end(): void {
    this.used(this.#waitingBytes)
    this.header.resolve(undefined)
  }

  fail(error: Error): void {
    this.end()
    this.snapshot.reject(error)
    this.segment.reject(error)
  }
}

/** Whoever waits for it sees the failure; until then it is not unhandled. */
function handled<T>(resolvers: PromiseWithResolvers<T>): PromiseWithResolvers<T> {
  resolvers.promise.catch(() => undefined)
  return resolvers
}

class ImageThread {
  waitingBytes = 0
  /** Undefined: it could not be started. */
  readonly #worker: Worker | undefined
  readonly #outputPath: string
  readonly #inputs = new Map<number, Input>()
  #failure: Error | undefined

  constructor(entry: URL, outputPath: string) {
    this.#outputPath = outputPath
    try {
      this.#worker = new Worker(entry, { resourceLimits: { maxYoungGenerationSizeMb } })
    } catch (error) {
      this.#end(error)
      return
    }
    this.#worker.on('message', (reply: ImageReply) => this.#take(reply))
    this.#worker.on('error', (error) => this.#end(error))
    this.#worker.on('exit', (code) => this.#end(new Error(`its exit code is ${code}`)))
  }

  /** It died, or never lived: of a machine that is short of something, or of a bug. The restore can be tried again. */
  #end(cause: unknown): void {
    const why = messageOf(cause)
    this.#fail(
      new OutputError(`a thread that builds ${this.#outputPath} has ended: ${why}`, { cause }),
    )
  }

  send(request: ImageRequest, given: readonly ArrayBuffer[] = []): void {
    this.#worker?.postMessage(request, [...given])
  }

  start(turn: number, task: ImageTask, budget: ByteBudget): Input {
    const input = new Input(turn, this, budget)
    this.#inputs.set(turn, input)
    if (this.#failure === undefined) this.send({ kind: 'start', turn, task })
    else input.fail(this.#failure)
    return input
  }

  async end(): Promise<void> {
    await this.#worker?.terminate()
  }

  #take(reply: ImageReply): void {
    switch (reply.kind) {
      case 'used':
        this.#inputs.get(reply.turn)?.used(reply.sizeBytes)
        return
      case 'header':
        this.#inputs.get(reply.turn)?.header.resolve(reply.header)
        return
      case 'snapshot':
        this.#ended(reply.turn)?.snapshot.resolve(reply.decoded)
        return
      case 'segment':
        this.#ended(reply.turn)?.segment.resolve(reply.decoded)
        return
      case 'failed':
        this.#fail(
          new OutputError(`cannot write ${this.#outputPath}: ${reply.message}`, {
            hint: 'Free some space there, or restore to another path with -o.',
          }),
        )
    }
  }

  #ended(turn: number): Input | undefined {
    const input = this.#inputs.get(turn)
    this.#inputs.delete(turn)
    input?.end()
    return input
  }

  #fail(error: Error): void {
    this.#failure ??= error
    for (const input of this.#inputs.values()) input.fail(this.#failure)
    this.#inputs.clear()
  }
}
