/** What the package exports is a promise: a name that comes or goes is a decision, and shows here. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import * as library from '../../src/index.js'

const values = [
  'AddressError',
  'AmbiguousBackupError',
  'CheckTimeoutError',
  'ConfigError',
  'CorruptionError',
  'DatabaseError',
  'InUseError',
  'LocalStateError',
  'NoBackupError',
  'NotRunningError',
  'NotStoredError',
  'ObjectNotFoundError',
  'OutputError',
  'OutputExistsError',
  'ReplicaError',
  'TsreplicateError',
  'UsageError',
  'configFromUrls',
  'formatPosition',
  'isAbortError',
  'listGenerations',
  'loadConfig',
  'replicate',
  'restore',
  'restoreIfMissing',
  'status',
  'verify',
]

const types = [
  'Config',
  'DaemonStatus',
  'DatabaseConfig',
  'Finding',
  'Generation',
  'GenerationInfo',
  'LagEvent',
  'ListOptions',
  'Listener',
  'LoadOptions',
  'LogFields',
  'Logger',
  'MissingOptions',
  'NewGenerationEvent',
  'NotStored',
  'Position',
  'ProblemEvent',
  'RecoveredEvent',
  'ReplicaConfig',
  'ReplicateOptions',
  'ReplicationEvents',
  'RestoreOptions',
  'RestoreProgress',
  'RestoreReport',
  'RestoreTarget',
  'RunningReplication',
  'StatusOptions',
  'Stored',
  'StoredEvent',
  'StoredOptions',
  'TakenOverEvent',
  'UrlRestoreOptions',
  'VerifiedGeneration',
  'VerifiedReplica',
  'VerifyOptions',
  'WalPosition',
]

test('the public values are these', () => {
  expect(Object.keys(library).sort()).toEqual(values)
})

/** What index.ts exports, by its name: the statements that declare it. */
function declarations(): ReadonlyMap<string, readonly ts.Statement[]> {
  const src = join(import.meta.dirname, '../../src')
  const parsed = (path: string): ts.SourceFile =>
    ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true)
  const found = new Map<string, readonly ts.Statement[]>()
  for (const statement of parsed(join(src, 'index.ts')).statements) {
    // What runs it is looked at before anything else is loaded.
    if (ts.isImportDeclaration(statement) && statement.importClause === undefined) continue
    // Nothing comes in by a star.
    if (!ts.isExportDeclaration(statement) || statement.exportClause === undefined) {
      throw new Error(`index.ts has more than lists of names: ${statement.getText()}`)
    }
    const path = statement.moduleSpecifier?.getText().slice(1, -1).replace(/js$/, 'ts') ?? ''
    const { statements } = parsed(join(src, path))
    for (const { name } of (statement.exportClause as ts.NamedExports).elements) {
      const own = statements.filter(
        (each) => ts.isDeclarationStatement(each) && each.name?.getText() === name.text,
      )
      // Of an overloaded function, what is behind the overloads is nobody's business.
      const public_ = own.filter(
        (each) => own.length === 1 || !ts.isFunctionDeclaration(each) || each.body === undefined,
      )
      found.set(name.text, public_)
    }
  }
  return found
}

test('the public types are these', () => {
  const isType = (each: ts.Statement): boolean =>
    ts.isInterfaceDeclaration(each) || ts.isTypeAliasDeclaration(each)
  const named = [...declarations()].filter(([, statements]) => statements.every(isType))
  expect(named.map(([name]) => name).sort()).toEqual(types)
})

/** As in a declaration file, without comments. */
function signatureOf(statement: ts.Statement): string {
  const printer = ts.createPrinter({ removeComments: true })
  const print = (node: ts.Node): string =>
    printer.printNode(ts.EmitHint.Unspecified, node, statement.getSourceFile())
  if (ts.isClassDeclaration(statement)) {
    const members = statement.members.map((each) => each.name?.getText() ?? 'constructor')
    const base = statement.heritageClauses?.map(print).join(' ') ?? ''
    return `export class ${statement.name?.text ?? ''} ${base} { ${members.join('; ')} }`
  }
  if (!ts.isFunctionDeclaration(statement)) return print(statement)
  const { modifiers, asteriskToken, name, typeParameters, parameters, type } = statement
  return print(
    // prettier-ignore
    ts.factory.updateFunctionDeclaration(
      statement, modifiers, asteriskToken, name, typeParameters, parameters, type, undefined,
    ),
  )
}

test('all that the public names have is this (npx vitest run --project unit public-names --update)', async () => {
  const text = [...declarations()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, statements]) => statements.map(signatureOf))
    .join('\n\n')
  await expect(`${text}\n`).toMatchFileSnapshot('../fixtures/public-surface.txt')
})

test('every public name says what it is, and so does each option, and all that a replication can do', () => {
  const isSaid = (node: ts.Node): boolean => ts.getJSDocCommentsAndTags(node).length > 0
  const unsaid = [...declarations()].flatMap(([name, statements]) =>
    statements.flatMap((statement) => [
      ...(isSaid(statement) ? [] : [name]),
      ...(ts.isInterfaceDeclaration(statement) && /Options$|^Running/.test(name)
        ? statement.members
        : []
      )
        .filter((member) => !isSaid(member))
        .map((member) => `${name}.${member.name?.getText() ?? ''}`),
    ]),
  )
  expect(unsaid).toEqual([])
})
