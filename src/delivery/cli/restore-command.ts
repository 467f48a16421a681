/** How a restore is written on a command line, for people who are to type it. */
import { type CommandFor } from '../../usecase/restore/restore-missing.js'
import { type RestoreSource } from '../../usecase/restore/restore-types.js'

export interface WrittenRestore {
  readonly configPath?: string | undefined
  readonly expandEnv?: boolean | undefined
  /** Of several: the one that is meant is named. */
  readonly hasReplicas?: boolean
  readonly outputPath?: string | undefined
  /** Database or URL; undefined: the only one of the configuration. */
  readonly subject: string | undefined
}

export function writeRestore(
  { configPath, expandEnv, hasReplicas, outputPath, subject }: WrittenRestore,
  flags: readonly string[],
  replica: string,
): string {
  const words = [
    ...['tsreplicate', 'restore'],
    ...(configPath === undefined ? [] : ['-config', configPath]),
    ...(expandEnv === false ? ['-no-expand-env'] : []),
    ...(hasReplicas === true ? ['-replica', replica] : []),
    ...flags,
    ...(outputPath === undefined ? [] : ['-o', outputPath]),
    ...(subject === undefined ? [] : [subject]),
  ]
  return words.map(quote).join(' ')
}

/** A word as a shell takes it. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}

/** For a database of this configuration; undefined: databases and replicas are those of the command line. */
export function restoreCommandFor(configPath: string | undefined): CommandFor {
  return ({ path }, sources) =>
    (flags, replica) =>
      configPath === undefined
        ? writeRestore({ outputPath: path, subject: urlOf(sources, replica) }, flags, replica)
        : writeRestore(
            { configPath, hasReplicas: sources.length > 1, subject: path },
            flags,
            replica,
          )
}

function urlOf(sources: readonly RestoreSource[], replica: string): string {
  const client = sources.find(({ name }) => name === replica)?.client
  if (client === undefined) return replica
  return client.type === 'file' ? `file://${client.location}` : client.location
}
