import { type LineCounter, type Node } from 'yaml'
import { ConfigError } from '../../domain/errors.js'

/** All that is wrong with a file, each with its line and the path of its key. */
export class Problems {
  readonly #file: string
  readonly #lineCounter: LineCounter
  readonly #found: { line: number; text: string }[] = []

  constructor(file: string, lineCounter: LineCounter) {
    this.#file = file
    this.#lineCounter = lineCounter
  }

  add(node: Node | null | undefined, path: string, problem: string): void {
    this.addAt(node?.range?.[0] ?? 0, path, problem)
  }

  addAt(offset: number, path: string, problem: string): void {
    const line = Math.max(1, this.#lineCounter.linePos(offset).line)
    const place = path === '' ? '' : `${path}: `
    const text = `${this.#file}:${line}: ${place}${problem}`
    // A key that is read twice is wrong once.
    if (!this.#found.some((known) => known.text === text)) this.#found.push({ line, text })
  }

  lineOf(node: Node): number {
    return this.#lineCounter.linePos(node.range?.[0] ?? 0).line
  }

  /** Throws one {@link ConfigError} of all problems, in the order of lines. */
  throwIfAny(): void {
    if (this.#found.length === 0) return
    this.#found.sort((a, b) => a.line - b.line)
    throw new ConfigError(this.#found.map(({ text }) => text).join('\n'))
  }
}
