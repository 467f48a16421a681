/** A wall clock of its own for the processes that get its environment: `wrong-clock.c`. It can be set while they run. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from './cli.ts'
import { hasCompiler, preloadable } from './compiled.ts'
import { sayAtTheEnd } from './last-lines.ts'

if (!hasCompiler) sayAtTheEnd('no C compiler (cc): no process was given a wrong clock')

export class WrongClock {
  readonly env: Readonly<Record<string, string>>
  readonly #path = join(temporaryFolder(), 'ahead')
  #aheadMs = 0
  #passedMs = 0

  constructor(aheadMs = 0) {
    closeSync(openSync(this.#path, 'w'))
    this.set(aheadMs)
    this.env = { LD_PRELOAD: preloadable('wrong-clock'), CLOCK_AHEAD: this.#path }
  }

  get aheadMs(): number {
    return this.#aheadMs
  }

  /** What `Date.now()` says there. */
  now(): number {
    return Date.now() + this.#aheadMs
  }

  /** Negative: it is behind. */
  set(aheadMs: number): void {
    this.#aheadMs = aheadMs
    this.#write()
  }

  /** To whoever measures how long something takes, so much more time has passed. */
  pass(passedMs: number): void {
    this.#passedMs += passedMs
    this.#write()
  }

  #write(): void {
    const bytes = Buffer.alloc(16)
    bytes.writeBigInt64LE(BigInt(Math.round(this.#aheadMs)))
    bytes.writeBigInt64LE(BigInt(Math.round(this.#passedMs)), 8)
    const file = openSync(this.#path, 'r+')
    writeSync(file, bytes, 0, 16, 0)
    closeSync(file)
  }
}
