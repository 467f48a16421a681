/** A machine on which somebody reads the documents and types what they say: folders, programs, a database with three rows. */
import Database from 'better-sqlite3'
import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { litestream, root, Running, temporaryFolder } from './cli.ts'
import { type Block } from './documents.ts'
import { freePort } from './stores/server.ts'

/** The folders of the machine that the documents name. */
const places = ['data', 'backup', 'restored', 'etc', 'srv', 'mnt', 'var/lib']
const programs = ['tsreplicate', 'systemctl', 'journalctl', 'sqlite3', 'curl', 'chown']
const place = new RegExp(String.raw`(?<![\w.-])/(?=(${places.join('|')})\b)`, 'g')

const config = 'dbs: [{ path: /data/app.db, replicas: [{ path: /backup/app }] }]'

/** What is typed before a page begins. */
const scenes: Readonly<Record<string, string>> = {
  // A database is replicated, and its disk is lost.
  'docs/restore-runbook.md': `
    echo '${config}' >/etc/tsreplicate.yml
    systemctl start tsreplicate
    tsreplicate sync -wait >/dev/null
    sqlite3 /data/app.db "insert into note values ('late')"
    systemctl stop tsreplicate
    rm -r /data
    mkdir /data`,
  'docs/from-litestream.md': `
    echo '${config}' >/etc/litestream.yml
    '${litestream}' replicate -config /etc/litestream.yml & pid=$!
    until ls /backup/app/generations/*/snapshots/*.lz4; do sleep 0.1; done
    kill $pid
    wait $pid || true`,
}

/** The moment that the documents go back to: here it is when all was stored for the first time. */
const writtenMoment = '2026-01-02T15:04:05Z'

export class ReaderMachine implements AsyncDisposable {
  readonly folder = temporaryFolder()
  readonly #port: number

  static async start(): Promise<ReaderMachine> {
    return new ReaderMachine(await freePort())
  }

  private constructor(port: number) {
    this.#port = port
    for (const name of [...places, 'bin', 'home', 'etc/systemd/system', 'tsreplicate']) {
      mkdirSync(join(this.folder, name), { recursive: true })
    }
    for (const name of ['bin', 'config', 'docs', 'examples', 'systemd']) {
      symlinkSync(join(root, name), join(this.folder, 'tsreplicate', name))
    }
    const shim = join(root, 'test/support/reader-shim.mjs')
    for (const name of programs) {
      const path = join(this.folder, 'bin', name)
      const words = [process.execPath, shim, this.folder, name].map((word) => `'${word}'`)
      writeFileSync(path, `#!/bin/sh\nexec ${words.join(' ')} "$@"\n`)
      chmodSync(path, 0o755)
    }
    const db = new Database(join(this.folder, 'data/app.db'))
    db.exec('create table note(text text); insert into note values (1), (2), (3)')
    db.close()
  }

  /** What a page says, for this machine. */
  localize(text: string): string {
    const moment = this.#read('moment') ?? new Date().toISOString()
    return text
      .replaceAll(writtenMoment, moment)
      .replaceAll(place, `${this.folder}/`)
      .replaceAll(':9090', `:${this.#port}`)
  }

  /** What has happened before the page is opened. */
  async prepare(page: string): Promise<void> {
    const script = scenes[page]
    if (script === undefined) return
    const { code, printed } = await this.#run(script)
    if (code !== 0) throw new Error(printed)
  }

  /** A configuration that says in its first line where it lies. */
  save({ text }: Block): void {
    const path = /^# (\/\S+)$/m.exec(text.split('\n', 1)[0] ?? '')?.[1]
    if (path === undefined) return
    const saved = this.localize(path)
    mkdirSync(dirname(saved), { recursive: true })
    writeFileSync(saved, this.localize(text))
  }

  /** What a block prints, as it would be on the reader's machine, and its exit code. */
  type({ text }: Block): Promise<{ readonly code: number; readonly printed: string }> {
    return this.#run(text)
  }

  /** Ends the daemons that are still running. */
  async stop(): Promise<void> {
    const shell = new Running(
      'sh',
      'bash',
      ['-c', 'systemctl stop tsreplicate'],
      this.#environment(),
    )
    if ((await shell.exit()) !== 0) throw new Error(`${shell.output}\n${this.log()}`)
  }

  /** Also where a page has failed: its daemons outlive the shell that started them. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  log(): string {
    return this.#read('log') ?? ''
  }

  async #run(text: string): Promise<{ readonly code: number; readonly printed: string }> {
    const script = `cd '${join(this.folder, 'tsreplicate')}'\nexec 2>&1\n${this.localize(text)}`
    const shell = new Running('sh', 'bash', ['-euo', 'pipefail', '-c', script], this.#environment())
    const code = await shell.exit(120_000)
    const printed = shell.stdout
      .replaceAll(`${this.folder}/`, '/')
      .replaceAll(`:${this.#port}`, ':9090')
    return { code, printed }
  }

  #read(name: string): string | undefined {
    const path = join(this.folder, name)
    return existsSync(path) ? readFileSync(path, 'utf8') : undefined
  }

  #environment(): Record<string, string> {
    return {
      PATH: `${join(this.folder, 'bin')}:${process.env['PATH'] ?? ''}`,
      HOME: join(this.folder, 'home'),
      LITESTREAM_CONFIG: join(this.folder, 'etc/tsreplicate.yml'),
      NO_COLOR: '1',
    }
  }
}
