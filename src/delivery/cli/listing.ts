/** How commands list what is on replicas. */
import { isAbortError } from '../../kit/abort.js'
import { type RestoreSource } from '../../usecase/restore/restore-types.js'
import { exitCodes } from '../exit-codes.js'
import { nameSubject, openSubject, type Subject } from './context.js'
import { type SubjectFlags } from './flags.js'
import { print, printJson } from './output.js'
import { formatTable } from './table.js'

/** Opens what is named, or without a name the only database of the configuration. */
export async function openSubjectOf(
  name: string | undefined,
  flags: SubjectFlags,
  required?: string,
): Promise<Subject> {
  return openSubject(await nameSubject(name, flags, required), flags)
}

/** Columns as the rows have them. */
export function columnsOf<Name extends string>(
  ...names: readonly Name[]
): Listing<Readonly<Record<Name, string | number>>>['columns'] {
  return Object.fromEntries(names.map((name) => [name, (row) => String(row[name])]))
}

/** What a command lists of each replica. A row is printed as it is with `--json`, else by its columns. */
interface Listing<Row> {
  /** Logged of a replica that cannot be listed. */
  readonly complaint: string
  readonly list: (source: RestoreSource, subject: Subject) => Promise<Row[]>
  readonly columns: Readonly<Record<string, (row: Row) => string>>
}

/** Asks every replica; one that fails is logged, makes the exit code 1, and does not hide the others. */
export async function show<Row>(
  subject: Subject,
  flags: { readonly json: boolean },
  { complaint, list, columns }: Listing<Row>,
): Promise<number> {
  const rows: Row[] = []
  let exitCode: number = exitCodes.done.code
  for (const source of subject.sources) {
    try {
      for (const row of await list(source, subject)) rows.push(row)
    } catch (err) {
      if (isAbortError(err)) throw err
      subject.logger.error({ db: subject.databasePath, replica: source.name, err }, complaint)
      exitCode = exitCodes.failed.code
    }
  }
  if (flags.json) printJson(rows)
  else {
    const cells = Object.values(columns)
    const table = rows.map((row) => cells.map((cell) => cell(row)))
    print(formatTable(Object.keys(columns), table))
  }
  return exitCode
}
