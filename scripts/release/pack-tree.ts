/** Folders become files that are the same whoever makes them, and when: names in order, one time, one owner, known modes. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, createWriteStream, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

/** When the commit was made, or what SOURCE_DATE_EPOCH says, in seconds: the time of every file. */
function sourceDate(): number {
  const given =
    process.env['SOURCE_DATE_EPOCH'] ??
    execFileSync('git', ['log', '-1', '--format=%ct'], { encoding: 'utf8' })
  const seconds = Number(given)
  if (!Number.isInteger(seconds)) throw new Error(`SOURCE_DATE_EPOCH is not a time: ${given}`)
  return seconds
}

/** Every file in a folder, by its path within it, in order. */
export function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort()
}

/** What may be executed may be by all; whatever the umask left. */
function setModes(folder: string, own: Readonly<Record<string, number>>): void {
  chmodSync(folder, 0o755)
  for (const path of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const file = join(folder, path)
    const { mode } = statSync(file)
    chmodSync(file, own[path] ?? ((mode & 0o100) === 0 ? 0o644 : 0o755))
  }
}

/**
 * Writes `names` of a folder to `output`, a `.tar.gz`. `modes` are those of files that are not for all. The programs of the
 * system are used, as GNU gzip makes the same of the same bytes on every processor; zlib does not.
 */
export async function writeTarball(
  folder: string,
  {
    names,
    output,
    modes = {},
  }: {
    readonly names: readonly string[]
    readonly output: string
    readonly modes?: Readonly<Record<string, number>>
  },
): Promise<void> {
  setModes(folder, modes)
  const tar = spawn(
    'tar',
    [
      ...['--format=gnu', '--sort=name', `--mtime=@${sourceDate()}`],
      ...['--owner=0', '--group=0', '--numeric-owner', '--directory', folder, '--create', ...names],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, LC_ALL: 'C' } },
  )
  const gzip = spawn('gzip', ['--no-name'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ends = [tar, gzip].map(async (child) => (await once(child, 'close'))[0] === 0)
  await Promise.all([
    pipeline(tar.stdout, gzip.stdin),
    pipeline(gzip.stdout, createWriteStream(output)),
  ])
  if ((await Promise.all(ends)).includes(false)) throw new Error(`tar or gzip failed: ${output}`)
}

/** An `ar` archive, which is what a .deb is. */
export function arArchive(
  members: readonly { readonly name: string; readonly content: Buffer }[],
): Buffer {
  const parts = members.flatMap(({ name, content }) => [
    Buffer.from(
      [
        name.padEnd(16),
        String(sourceDate()).padEnd(12),
        '0'.padEnd(6),
        '0'.padEnd(6),
        '100644'.padEnd(8),
        String(content.length).padEnd(10),
        '`\n',
      ].join(''),
    ),
    content,
    Buffer.from(content.length % 2 === 0 ? '' : '\n'),
  ])
  return Buffer.concat([Buffer.from('!<arch>\n'), ...parts])
}
