import { createInterface, type Interface } from 'node:readline'
import { isatty } from 'node:tty'
import { orAborted } from '../../kit/abort.js'

/** Asks who sits at the terminal. Questions go to stderr, so that stdout has results alone. */
export class Questions implements Disposable {
  readonly #lines: Interface
  readonly #answers: AsyncIterator<string>
  readonly #signal: AbortSignal

  constructor(signal: AbortSignal) {
    this.#signal = signal
    // The terminal itself edits lines and makes a signal of Ctrl-C.
    this.#lines = createInterface({ input: process.stdin, terminal: false })
    this.#answers = this.#lines[Symbol.asyncIterator]()
  }

  static get arePossible(): boolean {
    return isatty(0) && isatty(2)
  }

  /** The answer without blanks around it. Ctrl-D is like Ctrl-C. */
  async ask(question: string): Promise<string> {
    process.stderr.write(`${question} `)
    const answer = await orAborted(this.#answers.next(), this.#signal)
    if (answer.done === true) throw new DOMException('no answer', 'AbortError')
    return answer.value.trim()
  }

  /** Yes or no; Enter alone is `otherwise`. */
  async confirm(question: string, otherwise: boolean): Promise<boolean> {
    for (;;) {
      const answer = await this.ask(`${question} [${otherwise ? 'Y/n' : 'y/N'}]`)
      if (answer === '') return otherwise
      if (/^y(es)?$/i.test(answer)) return true
      if (/^no?$/i.test(answer)) return false
    }
  }

  [Symbol.dispose](): void {
    this.#lines.close()
  }
}
