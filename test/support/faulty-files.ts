/** A daemon whose file calls fail, beside a writer; then it has to be as if nothing had been. */
import { join } from 'node:path'
import { expect } from 'vitest'
import { program, run, Running, temporaryFolder, until, writeConfig } from './cli.ts'
import { type Call, type Moment, Trap } from './kill-at-call.ts'
import { lastAcknowledged, restoreAndVerify, startWriter, write } from './ledger.ts'

export interface Fault extends Call {
  readonly moment: Moment
  readonly error?: 'EIO' | 'ENOSPC' | 'EMFILE'
  /** Only the n-th call; absent: each one for as long as the writer writes. */
  readonly nth?: number
}

/** What changes files. */
export const everyCall = 'create,mkdir,link,rename,replace,unlink,write,sync'
/** Of the two places that the daemon writes to: its local state, and a replica in a folder. */
export const places = { state: '/state/', replica: '/replica/' } as const

const recoveryMs = 30_000

/**
 * Lets the calls fail while commits are made, and demands that within 30 seconds afterwards all is stored, and that what is
 * restored is every commit that the writer was told of. A daemon that ends is started again, as by a supervisor. Resolves
 * with how many calls failed.
 */
export async function endure(fault: Fault, seconds = 1): Promise<number> {
  const folder = temporaryFolder()
  const at = (name: string): string => join(folder, name)
  const [db, oracle] = [at('app.db'), at('oracle')]
  await write({ db, oracle, count: 5 })
  const replicas = [{ path: at('replica') }]
  const config = writeConfig(folder, { path: db, 'meta-path': at('state'), replicas })
  const trap = new Trap(folder, fault, { ...fault, nth: fault.nth ?? 0, armed: false })
  const start = (): Running =>
    new Running('daemon', process.execPath, [program, 'replicate', '-config', config], trap.env)
  let daemon = start()
  await daemon.waitFor(/snapshot written/)
  trap.arm()
  const writer = startWriter({ db, oracle, rate: 50, seconds })
  await writer.exit()
  trap.disarm()
  const isStored = async (): Promise<boolean> => {
    if (daemon.ended) daemon = start()
    return (await run('status', '-config', config)).code === 0
  }
  await until(isStored, recoveryMs, () => `recovery of ${JSON.stringify(fault)}:\n${daemon.output}`)
  expect(await daemon.stop(), daemon.output).toBe(0)
  const restored = await restoreAndVerify(at('replica'), at('restored.db'), oracle)
  expect(restored.n).toBe(lastAcknowledged(oracle))
  return trap.killed?.split('\n').length ?? 0
}
