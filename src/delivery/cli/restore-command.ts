/** How a restore is written on a command line, for people who are to type it. */

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

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
