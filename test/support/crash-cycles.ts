/** One cycle each of the ways to die, and the table of what was hit. */
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Arena } from './crash-arena.ts'
import { type CrashPoint } from './crash-points.ts'
import { program, Running, until } from './cli.ts'
import { type Moment, Trap } from './kill-at-call.ts'
import { verifyLedger } from './ledger.ts'

/** How often each point was tried, and killed at. */
export class Tally {
  readonly #rows = new Map<string, { cycles: number; kills: number }>()

  count(name: string, killed: boolean): void {
    const row = this.#rows.get(name) ?? { cycles: 0, kills: 0 }
    this.#rows.set(name, { cycles: row.cycles + 1, kills: row.kills + (killed ? 1 : 0) })
  }

  get cycles(): number {
    return [...this.#rows.values()].reduce((sum, row) => sum + row.cycles, 0)
  }

  toString(): string {
    const width = Math.max(...[...this.#rows.keys()].map((name) => name.length))
    const line = (name: string, cycles: unknown, kills: unknown): string =>
      `${name.padEnd(width)}  ${String(cycles).padStart(6)}  ${String(kills).padStart(5)}`
    const rows = [...this.#rows].map(([name, { cycles, kills }]) => line(name, cycles, kills))
    const kills = [...this.#rows.values()].reduce((sum, row) => sum + row.kills, 0)
    return [line('point', 'cycles', 'kills'), ...rows, line('all', this.cycles, kills)].join('\n')
  }
}

export interface Blow {
  readonly point: CrashPoint
  readonly moment: Moment
  readonly nth: number
}

const describe = ({ point, moment, nth }: Blow): string => `${point.name}, ${moment} call ${nth}`

/** Waits for the end of a process in a trap, which must have struck. */
async function untilKilled(process: Running, trap: Trap, blow: Blow, arena: Arena): Promise<void> {
  const lastLines = ({ name, ended, output }: Running): string =>
    `${name}${ended ? ', which has ended,' : ''} said last:\n${output.split('\n').slice(-15).join('\n')}`
  await until(
    () => process.ended,
    60_000,
    () =>
      [
        `${describe(blow)} to come`,
        ...[arena.daemon, arena.writer].map((each) => each && lastLines(each)),
      ].join('\n'),
  )
  await process.exit()
  if (trap.killed === undefined || process.child.signalCode !== 'SIGKILL') {
    throw new Error(`${describe(blow)}: it ended by itself:\n${process.output}`)
  }
}

/** Kills the process in which the daemon has SQLite at a named point, and the daemon, if the call is its own: who lives goes on. */
export async function killReaderAt(arena: Arena, blow: Blow): Promise<void> {
  const { point, moment, nth } = blow
  if (arena.daemon?.ended === false) await arena.daemon.kill()
  if (arena.writer?.ended !== false) await arena.startWriter()
  const trap = new Trap(arena.folder, point, { moment, nth, armed: false })
  const daemon = arena.startDaemon(trap.env)
  await arena.catchUp()
  trap.arm()
  await until(
    () => trap.killed !== undefined,
    60_000,
    () => `${describe(blow)} to come, of ${daemon.output}`,
  )
  trap.disarm()
  await goesOn(arena)
}

/** Kills one of those processes at a random moment, as a truncated `-shm` does. */
export async function killReaderAtRandom(arena: Arena): Promise<void> {
  if (arena.daemon?.ended !== false) arena.startDaemon()
  if (arena.writer?.ended !== false) await arena.startWriter()
  await sleep(arena.random() * 1200)
  await until(() => arena.readers.length > 0, 60_000, 'a process with SQLite')
  const { readers } = arena
  process.kill(readers[Math.floor(arena.random() * readers.length)]!, 'SIGBUS')
  await goesOn(arena)
}

async function goesOn(arena: Arena): Promise<void> {
  await arena.verify('a')
  await arena.verify('b')
  if (arena.daemon?.ended === true) arena.startDaemon()
  await arena.catchUp()
}

/** Kills the daemon at a named point, and often the application with it; what is stored must be right at once. */
export async function killDaemonAt(arena: Arena, blow: Blow): Promise<void> {
  const { point, moment, nth } = blow
  if (arena.daemon?.ended === false) await arena.daemon.kill()
  if (arena.writer?.ended !== false) await arena.startWriter()
  if (point.from === 'new generation' || point.from === 'difference') arena.truncateWal()
  if (point.from === 'new generation') arena.removePageMap()
  if (point.from === 'start' && arena.daemon !== undefined) {
    arena.plantLeftovers(arena.daemon.pid)
  }
  const isLater = point.from === 'running' || point.from === 'stop'
  const trap = new Trap(arena.folder, point, { moment, nth, armed: !isLater })
  const daemon = arena.startDaemon(trap.env)
  if (isLater) {
    await arena.catchUp()
    trap.arm()
  }
  if (point.from === 'stop') daemon.child.kill('SIGTERM')
  await untilKilled(daemon, trap, blow, arena)
  if (arena.random() < 0.3) await arena.writer?.kill()
  arena.judge()
  await arena.verify('a')
  await arena.verify('b')
}

/** Kills the application at a named point, under a daemon that has to go on with its generation. */
export async function killApplicationAt(arena: Arena, blow: Blow): Promise<void> {
  const { point, moment, nth } = blow
  if (arena.daemon?.ended !== false) arena.startDaemon()
  if (arena.writer?.ended === false) await arena.writer.stop()
  const trap = new Trap(arena.folder, point, { moment, nth, armed: false })
  const writer = await arena.startWriter(
    { synchronous: 'FULL', autocheckpoint: 20, checkpointChance: 0.1 },
    trap.env,
  )
  await writer.waitFor(/ready/)
  await arena.catchUp()
  const before = arena.generations
  trap.arm()
  await untilKilled(writer, trap, blow, arena)
  // The frame that it left may be valid, and published to nobody: what is written next takes its place.
  await arena.startWriter()
  await arena.catchUp()
  if (arena.generations !== before) {
    throw new Error(`${describe(blow)}: the daemon began a generation:\n${arena.daemon?.output}`)
  }
}

/** Kills a restore at a named point: there is a whole database or none, and the next one works and tidies up. */
export async function killRestoreAt(arena: Arena, blow: Blow): Promise<void> {
  const { point, moment, nth } = blow
  const folder = join(arena.folder, 'out')
  const output = join(folder, 'out.db')
  rmSync(output, { force: true })
  const trap = new Trap(arena.folder, point, { moment, nth, armed: true })
  const restore = (env: Readonly<Record<string, string>>): Running =>
    new Running(
      'restore',
      process.execPath,
      [program, 'restore', '-o', output, `file://${arena.replica('a')}`],
      env,
    )
  await untilKilled(restore(trap.env), trap, blow, arena)
  if (!existsSync(output)) {
    const again = restore({})
    const code = await again.exit()
    if (code !== 0) throw new Error(`${describe(blow)}: the next one fails:\n${again.output}`)
    const left = readdirSync(folder).filter((name) => name !== 'out.db')
    if (left.length > 0) throw new Error(`${describe(blow)}: left behind: ${left.join(', ')}`)
  }
  verifyLedger(output, arena.oracle)
  rmSync(output)
}

/** Kills at a random moment. */
export async function killAtRandom(
  arena: Arena,
  victims: 'daemon' | 'application' | 'both',
): Promise<void> {
  if (arena.daemon?.ended !== false) arena.startDaemon()
  if (arena.writer?.ended !== false) await arena.startWriter()
  await sleep(arena.random() * 1200)
  if (victims !== 'application') await arena.daemon?.kill()
  if (victims !== 'daemon') await arena.writer?.kill()
  if (victims !== 'application') {
    arena.judge()
    await arena.verify('a')
    await arena.verify('b')
  }
}
