/** The examples of README.md and docs/ do what the page says. */
import Database from 'better-sqlite3'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import {
  cleanUp,
  packageUnderTest,
  program,
  root,
  Running,
  temporaryFolder,
} from '../support/cli.js'
import {
  type Block,
  commandsIn,
  differs,
  firstLine,
  listPages,
  placeOf,
  readBlocks,
} from '../support/documents.js'
import { exceptionFor } from '../support/exceptions.js'
import { ReaderMachine } from '../support/reader-machine.js'

afterAll(() => cleanUp())

const pages = listPages()
/** Only ends what hangs: two dozen processes start for a page. */
const limitMs = 300_000
const isTyped = (block: Block): boolean =>
  block.language === 'sh' && exceptionFor(block.page, firstLine(block)) === undefined
const typed = pages.filter((page) => readBlocks(page).some(isTyped))

test.concurrent.each(typed)(
  '%s: what is typed prints what the page says',
  async (page) => {
    await using machine = await ReaderMachine.start()
    await machine.prepare(page)
    for (const block of readBlocks(page)) {
      if (block.language === 'yaml') machine.save(block)
      if (!isTyped(block)) continue
      const wanted = Number(block.words.find((word) => word.startsWith('exit='))?.slice(5) ?? 0)
      const { code, printed } = await machine.type(block)
      const about = `${placeOf(block)}\n${block.text}\nprints\n${printed}\nlog\n${machine.log()}`
      expect(code, about).toBe(wanted)
      if (block.output !== undefined) {
        expect(differs(printed, block.output), about).toBeUndefined()
      }
      if (block.words.includes('twice')) {
        const text = [
          // So that it is in the file, and not in a WAL that would be applied to whatever comes in its place.
          'systemctl stop tsreplicate',
          `sqlite3 /data/app.db "insert into note values ('between')"`,
          // As in a terminal, where one command that fails does not keep the next one from running.
          'set +e',
          block.text,
          `sqlite3 /data/app.db "select count(*) from note where text = 'between'"`,
        ].join('\n')
        const again = await machine.type({ ...block, text })
        expect(again.printed.split('\n').at(-2), `${about}\nand then\n${again.printed}`).toBe('1')
      }
    }
    await machine.stop()
  },
  limitMs,
)

test.concurrent('commands that are not run have subcommands and flags that there are', async () => {
  const blocks = pages
    .flatMap(readBlocks)
    .filter((block) => !isTyped(block) && block.language !== 'text')
  const lines = new Set(blocks.flatMap(({ text }) => commandsIn(text)))
  const script = [...lines].map(
    (line) => `node '${program}' ${line} -help >/dev/null || echo '${line.replaceAll("'", '"')}'`,
  )
  const env = { PATH: `${join(process.execPath, '..')}:${process.env['PATH'] ?? ''}` }
  const shell = new Running('sh', 'bash', ['-c', script.join('\n')], env)
  await shell.exit(120_000)
  expect(shell.stdout, shell.output).toBe('')
})

test.concurrent('the programs of a page compile, and run one after the other', async () => {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(packageUnderTest, join(folder, 'node_modules/tsreplicate'))
  for (const name of ['better-sqlite3', '@types']) {
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  }
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  const blocks = pages.flatMap(readBlocks).filter(({ language }) => language === 'ts')
  const files = blocks.map((block, i) => {
    const own = join(folder, block.page.replaceAll('/', '-'))
    for (const name of ['data', 'etc', 'restored']) mkdirSync(join(own, name), { recursive: true })
    const dbs = [{ path: join(own, 'data/app.db'), replicas: [{ path: join(own, 'backup/app') }] }]
    writeFileSync(join(own, 'etc/tsreplicate.yml'), JSON.stringify({ dbs }))
    const file = join(own, `example-${i}.ts`)
    writeFileSync(
      file,
      block.text.replaceAll(/(?<=['/])\/(?=(data|backup|restored|etc)\b)/g, `${own}/`),
    )
    return { block, file }
  })
  const compiler = new Running('tsc', process.execPath, [
    join(root, 'node_modules/typescript/bin/tsc'),
    ...['--ignoreConfig', '--noEmit', '--strict', '--skipLibCheck'],
    ...['--module', 'nodenext', '--target', 'es2023', '--lib', 'es2023,esnext.disposable'],
    ...['--types', 'node'],
    ...files.map(({ file }) => file),
  ])
  expect(await compiler.exit(120_000), compiler.output).toBe(0)
  expect(files.map(({ block }) => block.page)).toContain('README.md')
  for (const { block, file } of files) {
    const running = new Running(placeOf(block), process.execPath, [file])
    expect(await running.exit(), running.output).toBe(0)
    if (!block.text.includes('/restored/now.db')) continue
    const restored = new Database(join(dirname(file), 'restored/now.db'), { readonly: true })
    expect(restored.prepare('select text from note').pluck().all()).toEqual(['kept'])
    restored.close()
  }
})

test.concurrent(
  'the quickstart backs up, restores twice, and leaves nothing running',
  async () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>
    }
    const script = (scripts['quickstart'] ?? '').replace('npm run build && ', '')
    const shell = new Running('quickstart', 'bash', ['-c', `cd '${root}' && ${script}`])
    expect(await shell.exit(limitMs), shell.output).toBe(0)
    expect(shell.stdout).toMatch(/restored/i)
  },
  limitMs,
)
