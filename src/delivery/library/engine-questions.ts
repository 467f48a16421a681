/**
 * What an application asks of its engine, over all lives of the engine: what one did not answer the next one is asked again,
 * which does at least as much.
 */
import { onAbort } from '../../kit/abort.js'
import { type FromEngine, type ToEngine } from './messages.js'

/** What the engine did, or why it did not. */
export type Answer = Exclude<Extract<FromEngine, { id: number }>, { kind: 'refused' }>

interface Question {
  /** The message, made anew whenever it is asked. */
  readonly message: (id: number) => ToEngine
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
  /** What it is rejected with when there will be no engine any more. */
  readonly gone: (how: string) => Error
}

const longMs = 3_600_000

export class EngineQuestions {
  readonly #questions = new Map<number, Question>()
  #lastId = 0
  /** Undefined: no engine runs. */
  #send: ((message: ToEngine) => void) | undefined
  #ending = 'does not run yet'
  #isOver = false

  /** Rejects with what the engine rejects it with, with the signal's reason, or, when there is no engine any more, with `gone`. */
  async ask(
    { message, gone }: Pick<Question, 'message' | 'gone'>,
    signal: AbortSignal,
  ): Promise<Answer> {
    signal.throwIfAborted()
    if (this.#isOver) throw gone(this.#ending)
    const { promise, resolve, reject } = Promise.withResolvers<Answer>()
    const id = (this.#lastId += 1)
    this.#questions.set(id, { message, gone, resolve, reject })
    using _listening = onAbort(signal, () => {
      reject(signal.reason)
      this.#send?.({ kind: 'forget', id })
    })
    this.#send?.(message(id))
    // The engine does not keep the application alive, but whoever waits for its answer does.
    const waiting = setInterval(() => undefined, longMs)
    try {
      return await promise
    } finally {
      clearInterval(waiting)
      this.#questions.delete(id)
    }
  }

  /** Of the engine, for people. */
  get ending(): string {
    return this.#ending
  }

  get engineIsRunning(): boolean {
    return this.#send !== undefined
  }

  /** An engine runs, and takes these messages. */
  engineRuns(send: (message: ToEngine) => void): void {
    this.#send = send
    for (const [id, { message }] of this.#questions) send(message(id))
  }

  /** It has ended, or none can be started, as `ending` says after "the engine"; whether it is tried again. */
  engineEnded(ending: string, { isLast }: { readonly isLast: boolean }): void {
    this.#send = undefined
    this.#ending = ending
    this.#isOver = isLast
    if (!isLast) return
    for (const { reject, gone } of this.#questions.values()) reject(gone(this.#ending))
  }

  answered(answer: Answer | Extract<FromEngine, { kind: 'refused' }>): void {
    const question = this.#questions.get(answer.id)
    if (answer.kind === 'refused') question?.reject(answer.error)
    else question?.resolve(answer)
  }
}
