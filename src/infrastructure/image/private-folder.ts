/**
 * The folder that a database is restored and checked in: beside the output, and only its own user can enter it. Whoever may
 * write to the output's folder can move it away and put something else under its name; so both folders are held by their
 * descriptors, and what is made, moved and removed in them is found from there, by no path that others could turn elsewhere.
 */
import { type FileHandle, link, lstat, mkdtemp, open, realpath, rename } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { codeOf } from '../../kit/error-text.js'
import { HeldFolder } from '../files/held-folder.js'
import { PinnedFile } from '../files/pinned-file.js'
import { isAlive } from '../files/process-lives.js'

const databaseName = 'database.tmp'

/** Those that this process restores in. */
const inUse = new Set<string>()

/** What tells a file, and that nobody has written to it. */
export interface FileState {
  readonly dev: bigint
  readonly ino: bigint
  readonly size: bigint
  readonly mtimeNs: bigint
}

export class PrivateFolder {
  readonly #path: string
  readonly #into: HeldFolder
  readonly #held: HeldFolder
  readonly #outputName: string

  private constructor(
    path: string,
    { into, held, outputName }: { into: HeldFolder; held: HeldFolder; outputName: string },
  ) {
    this.#path = path
    this.#into = into
    this.#held = held
    this.#outputName = outputName
  }

  /** Makes one for an output whose folder is there, and removes what killed restores to it have left. */
  static async make(outputPath: string): Promise<PrivateFolder> {
    await sweepKilledRestores(outputPath)
    const outputName = basename(outputPath)
    const intoPath = await realpath(dirname(outputPath))
    const into = await HeldFolder.open(intoPath)
    if (into === undefined) throw new Error(`${intoPath} is no folder any more`)
    try {
      const start = `${temporaryName(outputName)}${process.pid}-`
      const name = basename(await mkdtemp(into.at(start)))
      const held = await HeldFolder.open(into.at(name))
      if (held === undefined) throw new Error(moved)
      const path = join(intoPath, name)
      inUse.add(path)
      const folder = new PrivateFolder(path, { into, held, outputName })
      const { uid, mode } = await held.handle.stat()
      if (uid === (process.geteuid?.() ?? uid) && (mode & 0o077) === 0) return folder
      await held[Symbol.asyncDispose]()
      throw new Error(moved)
    } catch (error) {
      await into[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Where another process finds the database, as long as nobody moves the folder. */
  get databasePath(): string {
    return join(this.#path, databaseName)
  }

  createDatabase(): Promise<FileHandle> {
    return open(this.#held.at(databaseName), 'wx+', 0o600)
  }

  /**
   * A descriptor of the database that keeps its inode from becoming another file's. It can be closed when an application has
   * opened the output: that drops no locks.
   */
  async pin(): Promise<AsyncDisposable> {
    const pinned = await PinnedFile.open(this.#held.at(databaseName))
    if (pinned === undefined) throw new Error(moved)
    return pinned
  }

  /**
   * Gives the database the name of the output, and takes away its other one: what has two is not replicated. False: somebody has
   * made a file of that name meanwhile, which a rename would replace. On a file system without links it is a rename: there a
   * database that is made after the last look is lost. Node has no `linkat`, which names a file by its descriptor; so it is by
   * its name in a folder that nobody else can enter.
   */
  async nameDatabase(): Promise<boolean> {
    const [from, to] = [this.#held.at(databaseName), this.#into.at(this.#outputName)]
    try {
      await link(from, to)
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false
      await rename(from, to)
    }
    await this.remove()
    return true
  }

  /**
   * Throws unless what has the name of the output is the file that was verified, and its name durable; then nothing of ours has it. What
   * was written to it since it has its name is an application's.
   */
  async keepIf({ dev, ino }: Pick<FileState, 'dev' | 'ino'>): Promise<void> {
    const named = await lstat(this.#into.at(this.#outputName), { bigint: true })
    // What others have put there instead is theirs.
    if (named.dev !== dev || named.ino !== ino) {
      throw new Error('it is not the file any more that was verified')
    }
    try {
      await this.#into.sync()
    } catch (error) {
      await this.#into.remove(this.#outputName)
      throw error
    }
  }

  /** Removes it with all that is in it, wherever it is now. */
  async remove(): Promise<void> {
    for (const name of await this.#held.names().catch(() => [])) {
      await this.#held.remove(name).catch(() => undefined)
    }
    await this.#into.remove(basename(this.#path)).catch(() => undefined)
    inUse.delete(this.#path)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held[Symbol.asyncDispose]()
    await this.#into[Symbol.asyncDispose]()
  }
}

const moved = 'somebody has put something else in the place of the folder in which it is restored'

export function isSame(a: FileState, b: FileState): boolean {
  return a.dev === b.dev && a.ino === b.ino && a.size === b.size && a.mtimeNs === b.mtimeNs
}

/** How the names of the folders begin in which an output is restored; the process and some random letters follow. */
function temporaryName(output: string): string {
  return `.${output}.tsreplicate-restore-`
}

/**
 * Removes what restores to the same output left behind that were killed: each can be as large as the database, or be its second
 * name. What is somebody else's stays, and is in nobody's way.
 */
export async function sweepKilledRestores(outputPath: string): Promise<void> {
  const start = temporaryName(basename(outputPath))
  const intoPath = await realpath(dirname(outputPath)).catch(() => undefined)
  await using into =
    intoPath === undefined ? undefined : await HeldFolder.open(intoPath).catch(() => undefined)
  if (intoPath === undefined || into === undefined) return
  for (const name of await into.names().catch(() => [])) {
    const pid = /^([1-9][0-9]{0,9})-/.exec(name.slice(start.length))?.[1]
    if (!name.startsWith(start) || pid === undefined || inUse.has(join(intoPath, name))) continue
    if (Number(pid) !== process.pid && isAlive(Number(pid))) continue
    const found = await lstat(into.at(name)).catch(() => undefined)
    if (found?.isDirectory() !== true || found.uid !== process.geteuid?.()) continue
    await into.remove(name).catch(() => undefined)
  }
}
