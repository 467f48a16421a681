import { constants, type Dirent } from 'node:fs'
import { access, readdir, readFile, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { DatabaseError } from '../../domain/errors.js'
import { isStateFolder, mayBeDatabase } from '../../domain/settings/database-folder.js'
import {
  type DatabaseFinder,
  type Sighting,
  type Sign,
} from '../../usecase/ports/database-finder.js'
import { kindByContent } from '../files/sqlite-header.js'
import {
  isAboutDatabase,
  isDatabaseName,
  type Names,
  namesInDjango,
  namesInRails,
  namesInScript,
  parseVariables,
  pathsIn,
} from './named-paths.js'
import { openFiles } from './open-files.js'

/** A project is seldom larger or deeper, and a home folder is not gone through. */
const maxDepth = 6
const maxEntries = 20_000
/** Folders of things that were installed or made. */
const foreign = /^(node_modules|bower_components|vendor|venv|site-packages|__pycache__|target)$/

/** Files in which a project names its database; what they name lies in one of these folders. */
const projectFiles: readonly {
  readonly name: RegExp
  readonly read: (text: string) => Names
  readonly bases: readonly string[]
}[] = [
  { name: /(^|\/)[\w-]+\.prisma$/, read: namesInScript, bases: ['.', '..'] },
  { name: /(^|\/)(prisma|drizzle)\.config\.\w+$/, read: namesInScript, bases: ['.', 'prisma'] },
  { name: /(^|\/)settings(\/\w+)?\.py$/, read: namesInDjango, bases: ['..', '.', '../..'] },
  { name: /(^|\/)config\/database\.yml$/, read: namesInRails, bases: ['..'] },
]
/** Of Prisma, a path in a variable starts where the schema is. */
const variableBases = ['.', 'prisma']

type Variables = ReadonlyMap<string, string>

/** Not the ones that only show what could be set, or are for tests. */
const environmentFile = /(^|\/)\.env(\.(?!example|sample|template|test)\w+)*$/

/** What is open on this machine, what the environment names, and what is in a folder. */
export class SystemFinder implements DatabaseFinder {
  readonly #folder: string
  readonly #environment: Variables

  constructor(folder: string, env: Readonly<Record<string, string | undefined>>) {
    this.#folder = folder
    this.#environment = new Map(
      Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
    )
  }

  async find(signal: AbortSignal): Promise<readonly Sighting[]> {
    const found: Sighting[] = []
    const seen = new Map<string, Promise<Seen | undefined>>()
    const add = async (file: string, sign: Sign): Promise<boolean> => {
      signal.throwIfAborted()
      const looking = seen.get(file) ?? look(file)
      seen.set(file, looking)
      const database = await looking
      if (database !== undefined) found.push({ ...database, sign })
      return database !== undefined
    }
    const addFirst = async (paths: readonly string[], bases: readonly string[], by: string) => {
      const places = paths.flatMap((each) => bases.map((base) => path.resolve(base, each)))
      for (const place of places) if (await add(place, { kind: 'named', by })) return
    }
    for (const { path: file, pid, program } of openFiles()) {
      await add(file, { kind: 'open', pid, program })
    }
    const files = await this.#files(signal)
    const variables = new Map(this.#environment)
    const basesOf = (folder: string): string[] =>
      variableBases.map((base) => path.join(folder, base))
    const addVariables = async (all: Variables, folder: string, from: string): Promise<void> => {
      for (const [name, value] of all) {
        if (isAboutDatabase(name)) await addFirst(pathsIn(value), basesOf(folder), name + from)
      }
    }
    await addVariables(this.#environment, this.#folder, ' in the environment')
    for (const file of files.filter((each) => environmentFile.test(each))) {
      const read = parseVariables(await this.#text(file))
      for (const [name, value] of read) if (!variables.has(name)) variables.set(name, value)
      await addVariables(read, path.dirname(path.join(this.#folder, file)), ` in ${file}`)
    }
    for (const file of files) {
      const project = projectFiles.find(({ name }) => name.test(file))
      if (project === undefined) continue
      const names = project.read(await this.#text(file))
      const folder = path.dirname(path.join(this.#folder, file))
      const bases = project.bases.map((base) => path.join(folder, base))
      const values = names.variables.flatMap((name) => {
        const paths = pathsIn(variables.get(name) ?? '')
        return paths.length === 0 ? [] : [paths]
      })
      for (const paths of [...names.paths, ...values]) await addFirst(paths, bases, file)
    }
    for (const file of files) {
      if (isDatabaseName(file)) await add(path.join(this.#folder, file), { kind: 'lying' })
    }
    return found
  }

  /** The files below the folder that may matter, relative to it, as far as the bounds go. */
  async #files(signal: AbortSignal): Promise<readonly string[]> {
    const found: string[] = []
    let left = maxEntries
    const queue = ['']
    for (let folder = queue.shift(); folder !== undefined; folder = queue.shift()) {
      signal.throwIfAborted()
      for (const entry of await entriesOf(path.join(this.#folder, folder))) {
        left -= 1
        if (left < 0) return found
        const relative = path.join(folder, entry.name)
        if (entry.isFile() && mayBeDatabase(entry.name)) found.push(relative)
        if (!entry.isDirectory() || foreign.test(entry.name) || isStateFolder(entry.name)) continue
        if (!entry.name.startsWith('.') && relative.split('/').length < maxDepth) {
          queue.push(relative)
        }
      }
    }
    return found
  }

  async #text(file: string): Promise<string> {
    return readFile(path.join(this.#folder, file), 'utf8').catch(() => '')
  }
}

type Seen = Omit<Sighting, 'sign'>

/** Throws {@link DatabaseError} where there is none that this user may read. */
export async function lookAtDatabase(file: string): Promise<Seen & { readonly mayWrite: boolean }> {
  const seen = await look(file)
  if (seen === undefined) {
    throw new DatabaseError(`there is no SQLite database that this user may read: ${file}`, {
      hint: 'If the application creates it at its first start, start the application before.',
    })
  }
  const mayWrite = await access(seen.path, constants.W_OK).then(
    () => true,
    () => false,
  )
  return { ...seen, mayWrite }
}

/** Undefined: it is no database, or may not be read. */
async function look(file: string): Promise<Seen | undefined> {
  try {
    const real = await realpath(file)
    const [name = '', ...folders] = real.split('/').toReversed()
    if (!mayBeDatabase(name) || folders.some(isStateFolder)) return undefined
    const stats = await stat(real)
    // The start of anything else, such as a pipe, may be waited for without end.
    if (!stats.isFile() || (await kindByContent(real)) !== 'database') return undefined
    return { path: real, sizeBytes: stats.size }
  } catch {
    return undefined
  }
}

async function entriesOf(folder: string): Promise<Dirent[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
}
