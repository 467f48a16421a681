import { lstat, open, readFile, rm, truncate } from 'node:fs/promises'
import { dirname } from 'node:path'
import { OutputError, OutputExistsError } from '../../domain/errors.js'
import { codeOf, messageOf } from '../../kit/error-text.js'
import { syncFolder } from './durable-files.js'

export interface NewFile {
  readonly path: string
  readonly text: string
}

/**
 * Creates all of these files or none. Throws {@link OutputExistsError} where there is something already, a link included;
 * to a file of nothing but comments, as a package may bring it, the text is added.
 */
export async function createFiles(files: readonly NewFile[]): Promise<void> {
  const undo: (() => Promise<void>)[] = []
  try {
    for (const file of files) {
      const size = await sizeOfComments(file.path)
      await writeNewFile(file, { isThere: size !== undefined }, () =>
        undo.push(() =>
          size === undefined ? rm(file.path, { force: true }) : truncate(file.path, size),
        ),
      )
      await syncFolder(dirname(file.path))
    }
  } catch (error) {
    for (const step of undo) await step()
    throw error
  }
}

/** Throws {@link OutputExistsError} where {@link createFiles} would. */
export async function refuseExisting(path: string): Promise<void> {
  const isThere = await lstat(path).then(
    () => true,
    () => false,
  )
  if (isThere && (await sizeOfComments(path)) === undefined) throw existsError(path)
}

/** The size of a file that says nothing; undefined: there is none, or it says something, or cannot be read. */
async function sizeOfComments(path: string): Promise<number | undefined> {
  try {
    const status = await lstat(path)
    if (!status.isFile()) return undefined
    const lines = (await readFile(path, 'utf8')).split('\n')
    return lines.every((line) => /^\s*(#|$)/.test(line)) ? status.size : undefined
  } catch {
    return undefined
  }
}

function existsError(path: string): OutputExistsError {
  return new OutputExistsError(`already exists, and is not overwritten: ${path}`, {
    hint: 'Move it away, or choose another path.',
  })
}

async function writeNewFile(
  { path, text }: NewFile,
  { isThere }: { readonly isThere: boolean },
  onOpened: () => void,
): Promise<void> {
  try {
    await using file = await open(path, isThere ? 'a' : 'wx', 0o644)
    onOpened()
    await file.writeFile(text)
    await file.sync()
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') throw existsError(path)
    throw new OutputError(`cannot write ${path}: ${messageOf(cause)}`, { cause })
  }
}
