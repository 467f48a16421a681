/** Both programs by one configuration: how they start, run a program, end, and keep what was stored. */
import {
  cpSync,
  existsSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterAll, describe, test } from 'vitest'
import { addRows, both, Log, onBothStages, rowsOf, theirs } from '../support/both-programs.ts'
import {
  cleanUp,
  listGenerations,
  listObjects,
  restore,
  root,
  Running,
  temporaryFolder,
  until,
} from '../support/cli.ts'
import { lastAcknowledged, startWriter, summaryOf, verifyLedger } from '../support/ledger.ts'
import { createKeepingS3 } from '../support/stores/keeping-s3.ts'
import { answerError, startScriptedS3 } from '../support/stores/scripted-s3.ts'
import { onThisMachine } from '../support/patience.ts'

afterAll(() => cleanUp())

const child = join(root, 'test/support/exec-child.mjs')
/** A command line for `-exec`. */
const command = (...steps: string[]): string =>
  `'${process.execPath}' ${child} ${steps.map((step) => `"${step}"`).join(' ')}`

const snapshotsOf = (replica: string): string[] =>
  listObjects(replica).filter((name) => name.includes('/snapshots/'))
const segmentsOf = (replica: string): string[] =>
  listObjects(replica).filter((name) => name.includes('/wal/'))
const indexOf = (object: string): number => parseInt(object.split('/').at(-1)!.slice(0, 8), 16)

/** Litestream looks at a database for the first time when this has passed. */
const late = { 'monitor-interval': '1h' }

function sizeOf(folder: string): number {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  const sizes = names.map((name) => statSync(join(folder, name), { throwIfNoEntry: false })?.size)
  return sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0)
}

describe.concurrent('-exec', () => {
  test.for([
    ['ends well', ['write=row'], { code: 0, rows: ['row'] }, { code: 0, rows: undefined }],
    ['fails', ['write=row', 'exit=7'], { code: 7, rows: ['row'] }, { code: 1, rows: undefined }],
    [
      'dies of a signal',
      ['write=row', 'kill=SIGKILL', 'wait=SIGTERM'],
      { code: 137, rows: ['row'] },
      { code: 1, rows: undefined },
    ],
  ] as const)(
    'stores what a program wrote that %s soon, and ends as it did; Litestream has not looked yet',
    async ([, steps, expected, original], { expect }) => {
      const found = await onBothStages({ database: late }, async (stage) => {
        const args = ['replicate', '-config', stage.config, '-exec', command(...steps)]
        const { code } = await stage.run(...args)
        return { code, rows: await stage.restored() }
      })
      expect(found.theirs).toEqual(original)
      expect(found.ours).toEqual(expected)
    },
  )

  test.for([
    ['and ends well', 0, { code: 0, rows: 3 }, { code: 0, rows: 3 }],
    ['and fails, which Litestream does not', 3, { code: 3, rows: 3 }, { code: 1, rows: 1 }],
  ] as const)(
    'passes SIGTERM on and stores what a program writes that then says goodbye %s',
    async ([, exit, expected, original], { expect }) => {
      // At this interval only the first sync and the last one store anything.
      const settings = { replica: { 'sync-interval': '1h' } }
      const rows = ['first', 'SIGTERM', 'goodbye']
      const found = await onBothStages(settings, async (stage) => {
        const steps = ['write=first', 'wait=SIGTERM', 'write=goodbye', `exit=${exit}`]
        const args = ['replicate', '-config', stage.config, '-exec', command(...steps)]
        const daemon = stage.start(...args)
        await daemon.waitFor(/waits for SIGTERM/)
        await until(() => segmentsOf(stage.replica).length > 0, 20_000, 'the first sync')
        const code = await daemon.stop()
        expect(daemon.output).toContain('sending signal to exec process')
        return { code, rows: await stage.restored() }
      })
      expect(found.theirs).toEqual({ code: original.code, rows: rows.slice(0, original.rows) })
      expect(found.ours).toEqual({ code: expected.code, rows: rows.slice(0, expected.rows) })
    },
  )

  test('refuses a command line of which Litestream runs only the beginning', async ({ expect }) => {
    const found = await onBothStages({}, async (stage) => {
      addRows(stage.db, 'row')
      const marks = ['one', 'other'].map((name) => join(stage.folder, name))
      const line = marks.map((mark) => `touch ${mark}`).join(' ; ')
      const { code } = await stage.run('replicate', '-config', stage.config, '-exec', line)
      return { code, marks: marks.map((mark) => existsSync(mark)) }
    })
    expect(found.theirs).toEqual({ code: 0, marks: [true, false] })
    expect(found.ours).toEqual({ code: 2, marks: [false, false] })
  })

  test('gives a program its stdin, which Litestream keeps', async ({ expect }) => {
    const found = await onBothStages({}, async (stage) => {
      addRows(stage.db, 'row')
      const args = [...stage.program.command, 'replicate', '-config', stage.config, '-exec', 'cat']
      const script = 'echo typed | "$@"'
      const env = { STAGE: stage.folder }
      const shell = new Running(stage.program.name, 'sh', ['-c', script, 'sh', ...args], env)
      return { code: await shell.exit(), said: /^typed$/m.test(shell.stdout) }
    })
    expect(found.theirs).toEqual({ code: 0, said: false })
    expect(found.ours).toEqual({ code: 0, said: true })
  })

  test('tells a program that is not there from one that fails', async ({ expect }) => {
    const found = await onBothStages({}, async (stage) => {
      const args = ['replicate', '-config', stage.config, '-exec', '/nowhere/none']
      const { code, stdout, stderr } = await stage.run(...args)
      return { code, said: (stdout + stderr).includes('cannot start exec command') }
    })
    expect(found.theirs).toEqual({ code: 1, said: true })
    expect(found.ours).toEqual({ code: 127, said: true })
  })
})

describe.concurrent('the end', () => {
  test.for(['SIGINT', 'SIGTERM'] as const)(
    'by %s comes after the last commits are stored, with exit code 0, as in Litestream',
    async (signal, { expect }) => {
      const found = await onBothStages({ replica: { 'sync-interval': '1h' } }, async (stage) => {
        using log = new Log(stage.db)
        log.add(['first'])
        const daemon = stage.start('replicate', '-config', stage.config)
        await until(() => segmentsOf(stage.replica).length > 0, 20_000, 'the first sync')
        log.add(['last', 'very last'])
        daemon.signal(signal)
        return { code: await daemon.exit(), rows: await stage.restored() }
      })
      expect(found.theirs).toEqual({ code: 0, rows: ['first', 'last', 'very last'] })
      expect(found.ours).toEqual(found.theirs)
    },
  )

  test('does not come by SIGHUP, of which Litestream dies', async ({ expect }) => {
    const found = await onBothStages({}, async (stage) => {
      using log = new Log(stage.db)
      log.add(['first'])
      const daemon = stage.start('replicate', '-config', stage.config)
      await daemon.waitFor(/wal segment written/)
      daemon.signal('SIGHUP')
      await until(
        () => daemon.ended || daemon.count(/configuration reloaded/) > 0,
        20_000,
        () => daemon.output,
      )
      const isAlive = !daemon.ended
      log.add(['last'])
      await daemon.stop()
      return { isAlive, rows: await stage.restored() }
    })
    expect(found.theirs).toEqual({ isAlive: false, rows: ['first'] })
    expect(found.ours).toEqual({ isAlive: true, rows: ['first', 'last'] })
  })

  test('at once stores everything; Litestream has not looked yet', async ({ expect }) => {
    const found = await onBothStages({ database: late }, async (stage) => {
      addRows(stage.db, 'row')
      const daemon = stage.start('replicate', '-config', stage.config)
      await daemon.waitFor(/replicating to/)
      return { code: await daemon.stop(), rows: await stage.restored() }
    })
    expect(found.theirs).toEqual({ code: 0, rows: undefined })
    expect(found.ours).toEqual({ code: 0, rows: ['row'] })
  })

  test('is one without failure when pages would have been copied back; in Litestream it fails', async ({
    expect,
  }) => {
    const settings = { 'monitor-interval': '2s', 'min-checkpoint-page-count': 10 }
    const names = Array.from({ length: 40 }, (_, i) => `row ${i}`)
    const found = await onBothStages({ database: settings }, async (stage) => {
      using log = new Log(stage.db)
      log.add(['first'])
      const daemon = stage.start('replicate', '-config', stage.config)
      await daemon.waitFor(/snapshot written/)
      log.add(names, 3000)
      return { code: await daemon.stop(), rows: await stage.restored(), output: daemon.output }
    })
    expect(found.theirs).toMatchObject({ code: 1, rows: ['first', ...names] })
    // Or its two loops have put one temporary file in place at once.
    expect(found.theirs.output).toMatch(/release read lock: context canceled|error closing db/)
    expect(found.ours).toMatchObject({ code: 0, rows: ['first', ...names] })
  })

  test.for([
    ['after the timeout', { 'shutdown-timeout': '1s' }, 1, 74],
    ['at a second signal', {}, 2, 130],
  ] as const)(
    'comes %s though a replica can no longer be written; Litestream never ends',
    async ([, top, signals, code], { expect }) => {
      const found = await onBothStages({ top }, async (stage) => {
        using log = new Log(stage.db)
        log.add(['first'])
        const daemon = stage.start('replicate', '-config', stage.config)
        await daemon.waitFor(/wal segment written/)
        const folder = join(stage.replica, segmentsOf(stage.replica)[0]!, '..')
        rmSync(folder, { recursive: true })
        writeFileSync(folder, 'no folder any more')
        const attempt = /write wal segment|level=ERROR/
        const times = daemon.count(attempt) + 1
        log.add(['late'])
        await daemon.waitFor(attempt, { times })
        const firstMs = Date.now()
        for (let signal = 0; signal < signals; signal += 1) {
          // One that comes within 300 ms is the same one, passed on by somebody.
          await until(() => Date.now() >= firstMs + signal * 400, 5000, 'a moment')
          daemon.signal('SIGTERM')
        }
        return await daemon.exit(4000).catch(() => 'never')
      })
      expect(found).toEqual({ theirs: 'never', ours: code })
    },
  )

  test('comes at once when there is nothing to replicate; Litestream runs on', async ({
    expect,
  }) => {
    const found = await both(async (each) => {
      const config = join(temporaryFolder(), 'empty.yml')
      writeFileSync(config, 'dbs: []\n')
      const daemon = each.start(['replicate', '-config', config])
      await daemon.waitFor(/no databases specified in configuration/)
      return await daemon.exit(2000).catch(() => daemon.stop())
    })
    expect(found).toEqual({ theirs: 0, ours: 78 })
  })
})

describe.concurrent('a replica', () => {
  test('that was away is caught up with though nothing is written; Litestream waits for a write', async ({
    expect,
  }) => {
    await using server = await startScriptedS3()
    const store = createKeepingS3()
    const names = (prefix: string, kind: string): string[] =>
      [...store.objects.keys()].filter(
        (key) => key.startsWith(`b/${prefix}/`) && key.includes(kind),
      )
    const programs = ['tsreplicate', 'Litestream']
    let isAway = false
    const refused = new Set<string>()
    server.answerWith((request, response, number) => {
      if (!isAway) return store.answer(request, response, number)
      for (const name of programs) if (request.url.includes(name)) refused.add(name)
      answerError(response, 500, 'InternalError')
    })
    const replica = {
      ...{ path: '${PREFIX}', type: 's3', bucket: 'b', region: 'us-east-1' },
      ...{ endpoint: server.endpoint, 'access-key-id': 'a', 'secret-access-key': 'b' },
    }
    const daemons: Running[] = []
    const said = (): string => daemons.map(({ output }) => output).join('\n')
    let isTheirsBeaten = false
    let backMs = Infinity
    const found = await onBothStages({ replica }, async (stage) => {
      const prefix = stage.program.name
      using log = new Log(stage.db)
      log.add(['first'])
      const env = { STAGE: stage.folder, PREFIX: prefix }
      const daemon = stage.program.start(['replicate', '-config', stage.config], env)
      daemons.push(daemon)
      const isStored = (name: string): boolean =>
        names(name, '/snapshots/').length > 0 && names(name, '/wal/').length > 0
      await until(() => programs.every(isStored), 20_000, said)
      const before = names(prefix, '/wal/').length
      const stored = (): number => names(prefix, '/wal/').length - before
      isAway = true
      log.add(['late'])
      if (stage.program === theirs) {
        await daemon.waitFor(/monitor error/, { timeoutMs: 60_000 })
        isTheirsBeaten = true
      }
      await until(() => isTheirsBeaten && refused.size === 2, 90_000, said)
      isAway = false
      backMs = Math.min(backMs, Date.now())
      const isOver = (): boolean =>
        stage.program === theirs ? Date.now() > backMs + 2000 : stored() > 0
      await until(isOver, 60_000, said)
      const meanwhile = stored()
      const code = await daemon.stop()
      return { meanwhile, code, atTheEnd: stored() }
    })
    expect(found.theirs).toEqual({ meanwhile: 0, code: 0, atTheEnd: 1 })
    expect(found.ours).toEqual({ meanwhile: 1, code: 0, atTheEnd: 1 })
  })

  test('that is away for long costs no more room than it may, which Litestream does not bound', async ({
    expect,
  }) => {
    const settings = {
      database: { 'max-spool-size': '300KB', 'min-checkpoint-page-count': 20 },
      replica: { path: '$STAGE/file/replica' },
    }
    const found = await onBothStages(settings, async (stage) => {
      const file = join(stage.folder, 'file')
      writeFileSync(file, '')
      using log = new Log(stage.db)
      log.add(['first'])
      const daemon = stage.start('replicate', '-config', stage.config)
      await daemon.waitFor(/level=ERROR/)
      const state = readdirSync(stage.folder).find((name) => name.startsWith('.app.db-'))!
      const names = ['first']
      await until(
        () => {
          names.push(`row ${names.length}`)
          log.add(names.slice(-1), 30_000)
          if (names.length < 60) return false
          const bytes = sizeOf(join(stage.folder, state))
          if (stage.program === theirs) return bytes > 1_500_000
          return daemon.count(/spool is full/) > 0 && bytes < 500_000
        },
        40_000,
        () => daemon.output,
      )
      if (stage.program === theirs) return
      rmSync(file)
      await daemon.waitFor(/snapshot written/)
      expect(await daemon.stop()).toBe(0)
      const output = stage.out('end')
      await restore(join(file, 'replica'), output)
      expect(rowsOf(output)).toEqual(names)
    })
    expect(found).toEqual({ ours: undefined, theirs: undefined })
  })

  test('whose last segment was cut off is made whole again; Litestream fails for ever', async ({
    expect,
  }) => {
    const found = await onBothStages({}, async (stage) => {
      using log = new Log(stage.db)
      log.add(['first'])
      const first = stage.start('replicate', '-config', stage.config)
      await first.waitFor(/snapshot written/)
      const before = segmentsOf(stage.replica).length
      log.add(['second'], 3000)
      await until(() => segmentsOf(stage.replica).length > before, 20_000, 'the second row')
      expect(await first.stop()).toBe(0)
      const last = join(stage.replica, segmentsOf(stage.replica).at(-1)!)
      truncateSync(last, statSync(last).size >> 1)
      const second = stage.start('replicate', '-config', stage.config)
      await second.waitFor(/cannot determine replica position|snapshot written|wal segment written/)
      log.add(['third'])
      await second.stop()
      return { rows: await stage.restored(), output: second.output }
    })
    expect(found.theirs.output).toContain('cannot determine replica position')
    expect(found.theirs.rows).toBeUndefined()
    expect(found.ours.rows, found.ours.output).toEqual(['first', 'second', 'third'])
  })

  test('that is ahead of a machine that was set back gets a new generation; Litestream fails for ever', async ({
    expect,
  }) => {
    const found = await onBothStages({}, async (stage) => {
      const image = join(stage.folder, 'image')
      const files = (): string[] =>
        readdirSync(stage.folder).filter((name) =>
          /^(\.app\.db-.*|app\.db|app\.db-wal)$/.test(name),
        )
      const daemon = stage.start('replicate', '-config', stage.config)
      const add = async (log: Log, name: string): Promise<void> => {
        const before = segmentsOf(stage.replica).length
        log.add([name], 3000)
        await until(
          () => segmentsOf(stage.replica).length > before,
          20_000,
          () => daemon.output,
        )
      }
      const log = new Log(stage.db)
      for (const name of ['first', 'second']) await add(log, name)
      for (const name of files()) {
        cpSync(join(stage.folder, name), join(image, name), { recursive: true })
      }
      for (const name of ['lost', 'lost', 'lost']) await add(log, name)
      await daemon.kill()
      log[Symbol.dispose]()
      for (const name of [...files(), 'app.db-shm']) {
        rmSync(join(stage.folder, name), { recursive: true, force: true })
      }
      cpSync(image, stage.folder, { recursive: true })
      using again = new Log(stage.db)
      const second = stage.start('replicate', '-config', stage.config)
      await second.waitFor(/snapshot written|monitor error/)
      again.add(['after'])
      await second.stop()
      const rows = await stage.restored()
      return { rows, output: second.output, generations: listGenerations(stage.replica).length }
    })
    expect(found.theirs.output).toContain('wal reader offset too high')
    expect(found.theirs.rows).not.toContain('after')
    expect(found.ours.rows, found.ours.output).toEqual(['first', 'second', 'after'])
    expect(found.ours.generations).toBe(2)
  })

  test('encrypted for keys of which the daemon has only the public ones goes on after a restart; Litestream fails', async ({
    expect,
  }) => {
    const recipients = [await identityToRecipient(await generateX25519Identity())]
    const found = await onBothStages({ replica: { age: { recipients } } }, async (stage) => {
      using log = new Log(stage.db)
      log.add(['first'])
      const first = stage.start('replicate', '-config', stage.config)
      await first.waitFor(/wal segment written/)
      log.add(['second'])
      await first.waitFor(/wal segment written/, { times: 2 })
      await first.stop()
      const before = segmentsOf(stage.replica).length
      const second = stage.start('replicate', '-config', stage.config)
      await second.waitFor(/monitor error|generation continues|new generation/)
      log.add(['third'])
      await second.stop()
      return segmentsOf(stage.replica).length - before
    })
    expect(found.theirs).toBe(0)
    expect(found.ours).toBeGreaterThan(0)
  })
})

describe.concurrent('side effects', () => {
  test('there are none on a WAL that a reader holds; Litestream writes to it and stores that, again and again', async ({
    expect,
  }) => {
    const settings = {
      database: {
        'monitor-interval': '200ms',
        'min-checkpoint-page-count': 5,
        'max-checkpoint-page-count': 10,
      },
    }
    let isTheirsDone = false
    const found = await onBothStages(settings, async (stage) => {
      using log = new Log(stage.db)
      log.add(['first'])
      const daemon = stage.start('replicate', '-config', stage.config)
      await daemon.waitFor(/snapshot written/)
      const reader = new Database(stage.db)
      reader.exec('begin; select * from log')
      log.add(['large'], 100_000)
      const isStored = (): boolean => daemon.count(/wal segment written/) > 1
      await until(isStored, 20_000, () => daemon.output)
      const bytes = statSync(`${stage.db}-wal`).size
      const objects = listObjects(stage.replica).length
      const grew = (): boolean =>
        statSync(`${stage.db}-wal`).size > bytes && listObjects(stage.replica).length > objects + 2
      if (stage.program === theirs) {
        await until(grew, 30_000, () => daemon.output)
        isTheirsDone = true
      }
      await until(() => isTheirsDone, 60_000, 'Litestream to write')
      const result = {
        bytes: statSync(`${stage.db}-wal`).size - bytes,
        objects: listObjects(stage.replica).length - objects,
      }
      reader.close()
      await daemon.stop()
      return result
    })
    expect(found.theirs.bytes).toBeGreaterThan(0)
    expect(found.ours).toEqual({ bytes: 0, objects: 0 })
  })

  test('a second daemon at one place is refused; of two of Litestream, a restore gives who wrote last', async ({
    expect,
  }) => {
    const found = await onBothStages({}, async (stage) => {
      addRows(stage.db, 'one')
      const first = stage.start('replicate', '-config', stage.config)
      await first.waitFor(/snapshot written/)
      const other = join(stage.folder, 'other.db')
      addRows(other, 'other')
      const second = stage.start('replicate', other, `file://${stage.replica}`)
      const isOver = (): boolean => second.ended || listGenerations(stage.replica).length > 1
      await until(isOver, 20_000, () => second.output)
      const code = second.ended ? await second.exit() : undefined
      await first.stop()
      await second.stop()
      return { code, rows: await stage.restored() }
    })
    expect(found.theirs).toEqual({ code: undefined, rows: ['other'] })
    expect(found.ours).toEqual({ code: 75, rows: ['one'] })
  })

  test('a path in a bucket that begins with a slash is one without it; Litestream writes snapshots without end', async ({
    expect,
  }) => {
    await using server = await startScriptedS3()
    const store = createKeepingS3()
    server.answerWith(store.answer)
    const replica = {
      ...{ path: '/$PREFIX', type: 's3', bucket: 'b', region: 'us-east-1' },
      ...{ endpoint: server.endpoint, 'access-key-id': 'a', 'secret-access-key': 'b' },
    }
    const found = await onBothStages({ replica }, async (stage) => {
      using log = new Log(stage.db)
      const names = ['first']
      log.add(names)
      const prefix = stage.program.name
      const env = { STAGE: stage.folder, PREFIX: prefix }
      const args = ['-config', stage.config]
      const daemon = stage.program.start(['replicate', ...args], env)
      const isOver = (): boolean =>
        daemon.count(/msg="snapshot written/) > 2 ||
        (daemon.count(/msg="snapshot written/) > 0 && daemon.count(/wal segment written/) > 3)
      await until(
        () => {
          names.push(`row ${names.length}`)
          log.add(names.slice(-1))
          return isOver()
        },
        60_000,
        () => daemon.output,
      )
      const snapshots = daemon.count(/msg="snapshot written/)
      await daemon.stop()
      const output = stage.out('end')
      const restored = await stage.program.run(['restore', '-o', output, ...args, stage.db], env)
      const isWhole = restored.code === 0 && rowsOf(output).length === names.length
      return { snapshots: Math.min(snapshots, 3), isWhole }
    })
    expect(found.theirs).toEqual({ snapshots: 3, isWhole: false })
    expect(found.ours).toEqual({ snapshots: 1, isWhole: true })
  })
})

describe.concurrent('retention', () => {
  test('leaves the snapshot of an idle database as it is, and moments after it; Litestream writes it anew', async ({
    expect,
  }) => {
    const settings = { retention: '2s', 'retention-check-interval': '300ms' }
    let rewritten = false
    const found = await onBothStages({ replica: settings }, async (stage) => {
      addRows(stage.db, 'row')
      const daemon = stage.start('replicate', '-config', stage.config)
      await daemon.waitFor(/snapshot written/)
      const snapshot = join(stage.replica, snapshotsOf(stage.replica)[0]!)
      const before = statSync(snapshot).mtimeMs
      const moment = new Date(Date.now() + 100).toISOString()
      const isNew = (): boolean => statSync(snapshot).mtimeMs > before
      if (stage.program === theirs) {
        await until(isNew, 20_000, () => daemon.output)
        rewritten = true
      }
      await until(() => rewritten, 30_000, 'Litestream to write its snapshot anew')
      const rows = await stage.restored('-timestamp', moment)
      expect(await daemon.stop()).toBe(0)
      return { rows, isNew: isNew(), snapshots: snapshotsOf(stage.replica).length }
    })
    expect(found.theirs).toEqual({ rows: undefined, isNew: true, snapshots: 1 })
    expect(found.ours).toEqual({ rows: ['row'], isNew: false, snapshots: 1 })
  })

  test('leaves a generation alone that another program is writing, whose snapshot is old; Litestream deletes it', async ({
    expect,
  }) => {
    const settings = {
      database: { 'min-checkpoint-page-count': 5 },
      replica: {
        // The neighbour writes once a second, and later where the machine is busy: that is not to look as if it had ended.
        retention: '15s',
        'retention-check-interval': '200ms',
        'snapshot-interval': '400ms',
      },
    }
    const found = await onBothStages(settings, async (stage) => {
      const db = join(stage.folder, 'other.db')
      using other = new Log(db)
      other.add(['other'])
      const neighbour = theirs.start(['replicate', db, `file://${stage.replica}`])
      await neighbour.waitFor(/wal segment written/)
      const [generation] = listGenerations(stage.replica)
      using log = new Log(stage.db)
      const daemon = stage.start('replicate', '-config', stage.config)
      // Its writer may soon take another one.
      let gone = false
      await until(
        () => {
          other.add(['other'])
          log.add(['row'], 3000)
          gone = !snapshotsOf(stage.replica).some((name) => name.includes(generation!))
          // Its own, which are younger.
          return gone || (stage.program !== theirs && daemon.count(/snapshot deleted/) >= 2)
        },
        90_000,
        () => daemon.output,
      )
      await neighbour.stop()
      await daemon.stop()
      const rows = await stage.restored('-generation', generation!)
      return { gone, isRestored: rows?.includes('other') ?? false }
    })
    expect(found.theirs.gone).toBe(true)
    expect(found.ours).toEqual({ gone: false, isRestored: true })
  })

  test('deletes an older generation and what lies before the snapshots that stay, taken as often as in Litestream', async ({
    expect,
  }) => {
    const settings = {
      database: { 'monitor-interval': '100ms', 'min-checkpoint-page-count': 20 },
      replica: {
        retention: '2s',
        'retention-check-interval': '200ms',
        'snapshot-interval': '1s',
      },
    }
    const found = await onBothStages(settings, async (stage) => {
      const { db, oracle, replica } = stage
      const writer = (): Running => startWriter({ db, oracle, rate: 40, payloadBytes: 2000 })
      const before = writer()
      const first = stage.start('replicate', '-config', stage.config)
      await first.waitFor(/snapshot written/)
      await first.stop()
      before.signal('SIGTERM')
      await summaryOf(before)
      const [old] = listGenerations(replica)
      const after = writer()
      const daemon = stage.start('replicate', '-config', stage.config)
      await daemon.waitFor(/snapshot written/)
      const startedMs = Date.now()
      const taken = (): number =>
        daemon.count(/msg="snapshot written/) - daemon.count(/new generation/)
      const isOver = (): boolean => {
        const isGone = !listGenerations(replica).includes(old!)
        return isGone && daemon.count(/snapshot deleted/) >= 3 && taken() >= 3
      }
      await until(isOver, 90_000, () => daemon.output)
      const seconds = (Date.now() - startedMs) / 1000
      const count = taken()
      after.signal('SIGTERM')
      await summaryOf(after)
      const lowest = (objects: readonly string[]): number => Math.min(...objects.map(indexOf))
      await until(
        () => lowest(segmentsOf(replica)) === lowest(snapshotsOf(replica)),
        20_000,
        () => `${listObjects(replica).join('\n')}\n${daemon.output}`,
      )
      expect(lowest(segmentsOf(replica))).toBeGreaterThan(0)
      await daemon.stop()
      const output = stage.out('end')
      const { code } = await stage.run('restore', '-o', output, `file://${replica}`)
      expect(code).toBe(0)
      expect(verifyLedger(output, oracle)).toEqual({ n: lastAcknowledged(oracle) })
      return { generations: listGenerations(replica).length, count, seconds }
    })
    for (const { generations, count, seconds } of [found.theirs, found.ours]) {
      expect(generations).toBe(1)
      expect(count).toBeLessThan(seconds + 3)
    }
  })

  test('takes a snapshot that is overdue soon after a start, not an interval later, as in Litestream', async ({
    expect,
  }) => {
    const settings = {
      database: { 'monitor-interval': '100ms', 'min-checkpoint-page-count': 5 },
      replica: { 'snapshot-interval': '10s', retention: '0s', 'retention-check-interval': '100ms' },
    }
    const found = await onBothStages(settings, async (stage) => {
      const { replica } = stage
      using log = new Log(stage.db)
      log.add(['first'])
      const first = stage.start('replicate', '-config', stage.config)
      await first.waitFor(/snapshot written/)
      const firstMs = Date.now()
      log.add(['large'], 50_000)
      await until(
        () => {
          log.add(['small'])
          return segmentsOf(replica).some((name) => indexOf(name) > 0)
        },
        20_000,
        () => `a second index: ${first.output}`,
      )
      await first.stop()
      await until(() => Date.now() > firstMs + 11_000, 20_000, 'the interval and its jitter')
      const second = stage.start('replicate', '-config', stage.config)
      await second.waitFor(/replicating to/)
      const secondMs = Date.now()
      await second.waitFor(/snapshot written/)
      const waitedMs = Date.now() - secondMs
      await second.stop()
      return { generations: listGenerations(replica).length, waitedMs }
    })
    for (const { generations, waitedMs } of [found.theirs, found.ours]) {
      expect(generations).toBe(1)
      expect(waitedMs).toBeLessThan(onThisMachine(9000))
    }
  })
})
