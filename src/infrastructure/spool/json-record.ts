/** A small file of JSON beside the spool, put in place whole: `<what>-<name of the replica>.json`. */
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { createFolder, replaceFile, syncFolder } from '../files/durable-files.js'
import { readSmallFileIfThere } from '../files/regular-files.js'
import { orLocalStateError } from './local-state-errors.js'

export interface JsonRecordOptions {
  /** The folder of the local state. */
  readonly path: string
  readonly replica: string
}

export class JsonRecord {
  readonly #path: string

  constructor(what: string, options: JsonRecordOptions) {
    this.#path = join(options.path, `${what}-${encodeURIComponent(options.replica)}.json`)
  }

  /** The fields of what is there; none where nothing is, or nothing that can be understood. */
  async load(): Promise<Readonly<Record<string, unknown>>> {
    return orLocalStateError(`read ${this.#path}`, async () => {
      const text = await readSmallFileIfThere(this.#path)
      return text === undefined ? {} : parseFields(text)
    })
  }

  async save(fields: object): Promise<void> {
    await orLocalStateError(`write ${this.#path}`, async () => {
      await createFolder(dirname(this.#path))
      const text = `${JSON.stringify({ version: 1, ...fields }, undefined, 2)}\n`
      await replaceFile(this.#path, new TextEncoder().encode(text))
    })
  }

  async remove(): Promise<void> {
    await orLocalStateError(`remove ${this.#path}`, async () => {
      const folder = dirname(this.#path)
      await createFolder(folder)
      await rm(this.#path, { force: true })
      await syncFolder(folder)
    })
  }
}

function parseFields(text: string): Readonly<Record<string, unknown>> {
  try {
    const content: unknown = JSON.parse(text)
    return typeof content === 'object' && content !== null ? { ...content } : {}
  } catch {
    return {}
  }
}
