/** A daemon whose worker threads fail when it is told: the other half of `thread-faults.mjs`. */
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { program, root, Running, until, writeConfig } from './cli.ts'
import { type Scene } from './scene.ts'

export class FaultyDaemon extends Running {
  readonly #folder: string

  /** `first`: orders that it has before it starts. */
  constructor(
    { folder, db, replica }: Scene,
    settings: Readonly<Record<string, unknown>> = {},
    first: Readonly<Record<string, string>> = {},
  ) {
    const faults = join(folder, 'faults')
    mkdirSync(faults)
    for (const [what, to] of Object.entries(first)) writeFileSync(join(faults, what), to)
    const config = writeConfig(folder, { path: db, replicas: [replica], ...settings })
    const args = ['--import', join(root, 'test/support/thread-faults.mjs'), program]
    super('tsreplicate', process.execPath, [...args, 'replicate', '-config', config], {
      THREAD_FAULTS: faults,
    })
    this.#folder = faults
  }

  /** Gives an order and waits until it was taken. */
  async order(
    what: 'kill' | 'break' | 'starve' | 'random' | 'calm',
    to: string | number,
  ): Promise<void> {
    const path = join(this.#folder, what)
    writeFileSync(`${this.#folder}.order`, String(to))
    renameSync(`${this.#folder}.order`, path)
    await until(() => !existsSync(path), 20_000, `the order to ${what} ${to} to be taken`)
  }
}
