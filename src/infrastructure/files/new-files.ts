import { lstat, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { OutputError, OutputExistsError } from '../../domain/errors.js'
import { codeOf, messageOf } from '../../kit/error-text.js'
import { syncFolder } from './durable-files.js'

export interface NewFile {
  readonly path: string
  readonly text: string
}

/** Creates all of these files or none. Throws {@link OutputExistsError} where there is something already, a link included. */
export async function createFiles(files: readonly NewFile[]): Promise<void> {
  const created: string[] = []
  try {
    for (const file of files) {
      await createFile(file, () => created.push(file.path))
      await syncFolder(dirname(file.path))
    }
  } catch (error) {
    for (const path of created) await rm(path, { force: true })
    throw error
  }
}

/** Throws {@link OutputExistsError} where there is something already, a link included. */
export async function refuseExisting(path: string): Promise<void> {
  const isThere = await lstat(path).then(
    () => true,
    () => false,
  )
  if (isThere) throw existsError(path)
}

function existsError(path: string): OutputExistsError {
  return new OutputExistsError(`already exists, and is not overwritten: ${path}`, {
    hint: 'Move it away, or choose another path.',
  })
}

async function createFile({ path, text }: NewFile, onCreated: () => void): Promise<void> {
  try {
    await using file = await open(path, 'wx', 0o644)
    onCreated()
    await file.writeFile(text)
    await file.sync()
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') throw existsError(path)
    throw new OutputError(`cannot write ${path}: ${messageOf(cause)}`, { cause })
  }
}
