import Database from 'better-sqlite3'
import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import {
  cleanUp,
  listObjects,
  litestream,
  program,
  restore,
  root,
  run,
  Running,
  start,
  temporaryFolder,
} from '../support/cli.ts'
import { startElsewhere, whyNotElsewhere } from '../support/elsewhere.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'

afterEach(cleanUp)

const child = join(root, 'test/support/exec-child.mjs')

interface Scene {
  readonly folder: string
  readonly db: string
  readonly replica: string
  /** A command line for `-exec`. */
  readonly command: (...steps: string[]) => string
  readonly replicate: (steps: readonly string[], ...flags: string[]) => Running
  /** What is restored of what children wrote. */
  readonly stored: (name?: string) => Promise<string[]>
}

function scene(): Scene {
  const folder = temporaryFolder()
  const db = join(folder, 'app.db')
  const replica = join(folder, 'replica')
  const command = (...steps: string[]): string =>
    `'${process.execPath}' ${child} ${steps.map((step) => `"${step}"`).join(' ')}`
  return {
    folder,
    db,
    replica,
    command,
    replicate: (steps, ...flags) =>
      start('replicate', ...flags, '-exec', command(...steps), db, `file://${replica}`),
    stored: async (name = 'restored.db') => {
      const output = join(folder, name)
      await restore(replica, output)
      return rowsOf(output)
    },
  }
}

function rowsOf(path: string): string[] {
  const db = new Database(path, { readonly: true })
  try {
    return db.prepare<[], string>('select name from log order by rowid').pluck().all()
  } finally {
    db.close()
  }
}

function fill(path: string, ...names: string[]): void {
  const db = new Database(path)
  db.pragma('journal_mode = wal')
  db.exec('create table log (name text)')
  for (const name of names) db.prepare('insert into log values (?)').run(name)
  db.close()
}

describe('-exec', () => {
  test('starts the program when everything is stored, and ends with its exit code', async () => {
    const { db, replica, replicate, stored } = scene()
    fill(db, 'before')
    const daemon = replicate([`list=${replica}`, 'write=last', 'exit=7'])
    expect(await daemon.exit(), daemon.output).toBe(7)
    expect(daemon.stdout).toMatch(/^child: objects [1-9]$/m)
    expect(daemon.stderr).toContain('msg="subprocess exited, tsreplicate shutting down" ')
    expect(daemon.stderr).toContain('msg="tsreplicate shut down"')
    expect(await stored()).toEqual(['before', 'last'])
  })

  test('stores what a program writes that creates its database and ends at once', async () => {
    const { replicate, stored } = scene()
    const daemon = replicate(['write=only'])
    expect(await daemon.exit(), daemon.output).toBe(0)
    expect(await stored()).toEqual(['only'])
  })

  test('passes a signal on, waits, and stores what the program writes at its end', async () => {
    const { replicate, stored } = scene()
    const daemon = replicate(['write=first', 'wait=SIGTERM', 'write=goodbye', 'exit=3'])
    await daemon.waitFor(/waits for SIGTERM/)
    expect(await daemon.stop(), daemon.output).toBe(3)
    expect(daemon.stderr).toContain('msg="sending signal to exec process" signal=SIGTERM')
    expect(await stored()).toEqual(['first', 'SIGTERM', 'goodbye'])
  })

  test('passes on what programs understand without ending', async () => {
    const { replicate, stored } = scene()
    const signals = ['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGQUIT', 'SIGINT'] as const
    const daemon = replicate(signals.map((signal) => `wait=${signal}`))
    for (const signal of signals) {
      await daemon.waitFor(new RegExp(`waits for ${signal}`))
      daemon.child.kill(signal)
    }
    expect(await daemon.exit(), daemon.output).toBe(0)
    expect(await stored()).toEqual(signals)
  })

  test('gets SIGHUP in the place of the daemon, which does not read its configuration again', async () => {
    const { folder, db, replica, command, stored } = scene()
    const config = join(folder, 'c.yml')
    const exec = command('write=first', 'wait=SIGHUP', 'wait=SIGTERM')
    const here = { path: db, replicas: [{ path: replica }] }
    writeFileSync(config, JSON.stringify({ exec, dbs: [here] }))
    const daemon = start('replicate', '-config', config)
    await daemon.waitFor(/waits for SIGHUP/)
    const added = { path: join(folder, 'added.db'), replicas: [{ path: join(folder, 'added') }] }
    fill(added.path, 'row')
    writeFileSync(config, JSON.stringify({ exec, dbs: [here, added] }))
    daemon.signal('SIGHUP')
    await daemon.waitFor(/waits for SIGTERM/)
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(daemon.stdout).toContain('msg="sending signal to exec process" signal=SIGHUP')
    expect(daemon.output).not.toMatch(/configuration reloaded|added\.db/)
    expect(listObjects(join(folder, 'added'))).toEqual([])
    expect(await stored()).toEqual(['first', 'SIGHUP', 'SIGTERM'])
  })

  test('ends with 128 and the number of the signal that the program died of', async () => {
    const { replicate, stored } = scene()
    const daemon = replicate(['write=row', 'kill=SIGKILL', 'wait=SIGTERM'])
    expect(await daemon.exit(), daemon.output).toBe(137)
    expect(await stored()).toEqual(['row'])
  })

  test('kills a program that does not end within the shutdown timeout, and stores what it wrote', async () => {
    const { replicate, stored } = scene()
    const daemon = replicate(
      ['ignore=SIGTERM', 'write=row', 'wait=SIGUSR1'],
      '-shutdown-timeout=1s',
    )
    await daemon.waitFor(/waits for SIGUSR1/)
    expect(await daemon.stop(), daemon.output).toBe(137)
    expect(daemon.stderr).toContain('exec process did not end, killing it')
    expect(await stored()).toEqual(['row'])
  })

  test.each([
    [127, (folder: string) => join(folder, 'none')],
    [
      126,
      (folder: string): string => {
        const path = join(folder, 'text')
        writeFileSync(path, 'no program')
        chmodSync(path, 0o600)
        return path
      },
    ],
  ])('ends with %d when the program cannot be started', async (code, make) => {
    const { folder, db, replica } = scene()
    fill(db, 'row')
    const outcome = await run('replicate', '-exec', make(folder), db, `file://${replica}`)
    expect(outcome.code, outcome.stderr).toBe(code)
    expect(outcome.stderr).toContain('msg="cannot start exec command"')
    expect(listObjects(replica)).not.toEqual([])
  })

  test.each([
    [`app "a`, 'cannot parse exec command: '],
    ['a; b', 'cannot parse exec command: '],
    [' ', 'cannot parse exec command: '],
    ['', '-exec has an empty value'],
    [`''`, 'cannot parse exec command: '],
  ])('refuses %j', async (command, message) => {
    const { db, replica } = scene()
    const outcome = await run('replicate', '-exec', command, db, `file://${replica}`)
    expect(outcome.code).toBe(2)
    expect(outcome.stderr).toContain(`tsreplicate: ${message}`)
  })

  test('is not held up for long by a replica that cannot be reached, and ends with 74', async () => {
    const { db, replica, replicate } = scene()
    fill(db, 'row')
    writeFileSync(replica, 'no folder')
    const daemon = replicate(['say=up'], '-first-sync-timeout=1s', '-shutdown-timeout=1s')
    expect(await daemon.exit(), daemon.output).toBe(74)
    expect(daemon.stdout).toContain('child: up')
    expect(daemon.stderr).toContain(
      'msg="first sync is not complete, starting the exec command anyway"',
    )
  })

  test('never starts the program when the signal comes during the first sync', async () => {
    const { db, replica, replicate } = scene()
    fill(db, 'row')
    writeFileSync(replica, 'no folder')
    const daemon = replicate(['say=up'], '-shutdown-timeout=1s')
    await daemon.waitFor(/level=ERROR/)
    expect(await daemon.stop(), daemon.output).toBe(74)
    expect(daemon.stdout).toBe('')
  })

  test('may stand in the configuration, and the command line goes before it', async () => {
    const { folder, db, replica, command } = scene()
    const config = join(folder, 'c.yml')
    const dbs = [{ path: db, replicas: [{ path: replica }] }]
    writeFileSync(config, JSON.stringify({ exec: command('say=key', 'exit=4'), dbs }))
    const byKey = await run('replicate', '-config', config)
    expect(byKey.stdout).toContain('child: key')
    expect(byKey.code).toBe(4)
    const byFlag = await run('replicate', '-config', config, '-exec', command('exit=5'))
    expect(byFlag.code).toBe(5)
  })

  test('takes a command line apart as Litestream does', async () => {
    const { folder, db, replica } = scene()
    const script = join(folder, 'words.sh')
    writeFileSync(script, '#!/bin/sh\nfor word in "$@"; do printf "<%s>" "$word"; done; echo\n')
    chmodSync(script, 0o700)
    const config = join(folder, 'none.yml')
    writeFileSync(config, 'dbs: []')
    const lines = [
      `a 'b c' "d e" f\\ g '' "" h'i'"j"`,
      `\\t \\n "\\"" "\\a" 'a\\b' "a\\\\b" "a'b" 'a"b'`,
      '`a b` $(c "d) $HOME ~ * a\\;b "a;b" \'>\'',
    ]
    for (const line of lines) {
      const command = `${script} ${line}`
      const ours = await run('replicate', '-exec', command, db, `file://${replica}`)
      const theirs = new Running('litestream', litestream, [
        ...['replicate', '-config', config],
        ...['-exec', command],
      ])
      await theirs.exit()
      const words = /^<.*>$/m
      expect(words.exec(ours.stdout)?.[0]).toBe(words.exec(theirs.stdout)?.[0] ?? 'none')
    }
  })
})

if (process.getuid?.() !== 0)
  sayAtTheEnd('users that the system does not know were not tested: that takes root')

describe.skipIf(whyNotElsewhere !== undefined)('as process 1 of a container', () => {
  const script = (folder: string): string => {
    const path = join(folder, 'program')
    writeFileSync(
      path,
      `for i in 1 2 3 4 5 6 7 8; do sh -c '(sleep 0.2 &)'; done
      trap 'echo got TERM; exit 5' TERM
      sleep 1
      echo zombies: $(cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ')
      echo stdin: $(cat)
      echo ready
      while :; do sleep 0.1; done`,
    )
    return `sh ${path}`
  }

  test('waits for the ends of what others leave behind, and passes signals and exit codes on', async () => {
    const { folder, db, replica } = scene()
    fill(db, 'before')
    const args = ['replicate', '-exec', script(folder), db, `file://${replica}`]
    const daemon = startElsewhere({ host: 'container' }, args)
    await daemon.waitFor(/ready/)
    expect(daemon.stdout).toContain('zombies: 0\nstdin:\n')
    daemon.signal('SIGTERM')
    expect(await daemon.exit(), daemon.output).toBe(5)
    expect(daemon.stdout).toContain('got TERM')
    expect(daemon.output).toContain('tsreplicate shut down')
  })
})

describe.skipIf(process.getuid?.() !== 0)('as a user that the system does not know', () => {
  test('every command works, without a home directory', () => {
    const { folder, db, replica } = scene()
    fill(db, 'before')
    for (const path of [folder, db]) chownSync(path, 54_321, 54_321)
    const config = join(folder, 'c.yml')
    writeFileSync(config, JSON.stringify({ dbs: [{ path: db, replicas: [{ path: replica }] }] }))
    const run = (...args: string[]) => {
      const user = ['--reuid=54321', '--regid=54321', '--clear-groups']
      const command = ['env', '-i', 'PATH=/usr/bin:/bin', process.execPath, program, ...args]
      return spawnSync('setpriv', [...user, ...command], { cwd: '/', encoding: 'utf8' })
    }
    const outcomes = [
      run('replicate', '-config', config, '-exec', 'true'),
      run('databases', '-config', config),
      run('restore', '-o', join(folder, 'out.db'), `file://${replica}`),
    ]
    expect(outcomes.map(({ status, stderr }) => status ?? stderr)).toEqual([0, 0, 0])
  })
})

describe('-restore-if-db-not-exists', () => {
  const flag = '-restore-if-db-not-exists'

  async function lose({ db, replicate }: Scene): Promise<void> {
    const daemon = replicate(['write=stored'])
    expect(await daemon.exit(), daemon.output).toBe(0)
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${db}${suffix}`, { force: true })
  }

  test('restores before the program starts, and goes on from there', async () => {
    const lost = scene()
    await lose(lost)
    const daemon = lost.replicate(['rows', 'write=more'], flag)
    expect(await daemon.exit(), daemon.output).toBe(0)
    expect(daemon.stdout).toContain('child: rows 1')
    expect(daemon.stderr).toContain('msg="database restored"')
    expect(await lost.stored()).toEqual(['stored', 'more'])
  })

  test('begins anew where there is no backup', async () => {
    const { replicate, stored } = scene()
    const daemon = replicate(['write=first'], flag)
    expect(await daemon.exit(), daemon.output).toBe(0)
    expect(daemon.stderr).toContain('msg="no matching backups found"')
    expect(await stored()).toEqual(['first'])
  })

  test('leaves a database alone that exists', async () => {
    const { db, replicate } = scene()
    fill(db, 'here')
    const daemon = replicate(['rows'], flag)
    expect(await daemon.exit(), daemon.output).toBe(0)
    expect(daemon.stdout).toContain('child: rows 1')
    expect(daemon.stderr).toContain('msg="database already exists, skipping"')
  })

  test('starts nothing when the backup is damaged', async () => {
    const lost = scene()
    await lose(lost)
    const snapshot = listObjects(lost.replica).find((name) => name.endsWith('.snapshot.lz4'))
    writeFileSync(join(lost.replica, snapshot!), 'garbage')
    const mark = join(lost.folder, 'mark')
    const daemon = lost.replicate([`touch=${mark}`], flag)
    expect(await daemon.exit(), daemon.output).toBe(1)
    expect(existsSync(mark)).toBe(false)
    expect(existsSync(lost.db)).toBe(false)
  })

  test('may stand in the configuration, per database', async () => {
    const lost = scene()
    await lose(lost)
    const config = join(lost.folder, 'c.yml')
    const other = { path: join(lost.folder, 'other.db'), replicas: [{ path: `${lost.replica}-2` }] }
    const here = { path: lost.db, replicas: [{ path: lost.replica }] }
    const dbs = [{ ...here, 'restore-if-db-not-exists': true }, other]
    writeFileSync(config, JSON.stringify({ exec: 'true', dbs }))
    const outcome = await run('replicate', '-config', config)
    expect(outcome.code, outcome.stderr).toBe(0)
    expect(rowsOf(lost.db)).toEqual(['stored'])
    expect(existsSync(other.path)).toBe(false)
  })
})
