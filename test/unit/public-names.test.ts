/** What the package exports is a promise: a name that comes or goes is a decision, and shows here. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
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
  'AddOptions',
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

const src = join(import.meta.dirname, '../../src')
const parsedFiles = new Map<string, ts.SourceFile>()

function parsed(path: string): ts.SourceFile {
  const known = parsedFiles.get(path)
  if (known !== undefined) return known
  const text = readFileSync(path, 'utf8')
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  parsedFiles.set(path, file)
  return file
}

/** The file that a statement imports from, if it is one of ours. */
function fileOf(of: ts.ImportDeclaration | ts.ExportDeclaration): string | undefined {
  const { moduleSpecifier: from } = of
  if (from === undefined || !ts.isStringLiteral(from) || !from.text.startsWith('.'))
    return undefined
  return join(dirname(of.getSourceFile().fileName), from.text.replace(/js$/, 'ts'))
}

/** The statements of a file that declare a name. */
function declared(path: string, name: string): readonly ts.Statement[] {
  const own = parsed(path).statements.filter((each) =>
    ts.isVariableStatement(each)
      ? each.declarationList.declarations.some((one) => one.name.getText() === name)
      : ts.isDeclarationStatement(each) && each.name?.getText() === name,
  )
  // Of an overloaded function, what is behind the overloads is nobody's business.
  return own.filter(
    (each) => own.length === 1 || !ts.isFunctionDeclaration(each) || each.body === undefined,
  )
}

/** What index.ts exports, by its name: the statements that declare it. */
function declarations(): ReadonlyMap<string, readonly ts.Statement[]> {
  const found = new Map<string, readonly ts.Statement[]>()
  for (const statement of parsed(join(src, 'index.ts')).statements) {
    // What runs it is looked at before anything else is loaded.
    if (ts.isImportDeclaration(statement) && statement.importClause === undefined) continue
    // Nothing comes in by a star.
    if (!ts.isExportDeclaration(statement) || statement.exportClause === undefined) {
      throw new Error(`index.ts has more than lists of names: ${statement.getText()}`)
    }
    const path = fileOf(statement) ?? ''
    for (const { name } of (statement.exportClause as ts.NamedExports).elements) {
      found.set(name.text, declared(path, name.text))
    }
  }
  return found
}

/** The names that a declaration says types by; what a function does inside, or a variable is, is none of it. */
function typeNamesIn(node: ts.Node): readonly string[] {
  if (ts.isBlock(node)) return []
  const own =
    ts.isTypeReferenceNode(node) || ts.isTypeQueryNode(node)
      ? ts.isTypeReferenceNode(node)
        ? node.typeName
        : node.exprName
      : ts.isExpressionWithTypeArguments(node)
        ? node.expression
        : undefined
  const first = own?.getText().split('.')[0]
  const inside: string[] = []
  node.forEachChild((child) => void inside.push(...typeNamesIn(child)))
  return first === undefined ? inside : [first, ...inside]
}

/** The declarations of a name in a file that uses it: there, or where it comes from; none: it is not ours. */
function referredTo(path: string, name: string): readonly ts.Statement[] {
  const here = declared(path, name)
  if (here.length > 0) return here
  for (const statement of parsed(path).statements) {
    if (!ts.isImportDeclaration(statement)) continue
    const bindings = statement.importClause?.namedBindings
    if (bindings === undefined || !ts.isNamedImports(bindings)) continue
    const element = bindings.elements.find((each) => each.name.text === name)
    const from = fileOf(statement)
    if (element === undefined || from === undefined) continue
    const there = declared(from, element.propertyName?.text ?? name)
    if (there.length === 0) throw new Error(`${name} is not declared in ${from}`)
    return there
  }
  return []
}

/** What the public declarations refer to, and that in turn, without themselves. */
function referredByPublic(): readonly ts.Statement[] {
  const known = new Set([...declarations().values()].flat())
  const found: ts.Statement[] = []
  const waiting = [...known]
  for (let each = waiting.pop(); each !== undefined; each = waiting.pop()) {
    const { fileName } = each.getSourceFile()
    for (const next of typeNamesIn(each).flatMap((name) => referredTo(fileName, name))) {
      if (known.has(next)) continue
      known.add(next)
      found.push(next)
      waiting.push(next)
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
  const others = referredByPublic().map(signatureOf).sort()
  const surface = [...text, '// What these refer to, which has no public name.', ...others]
  await expect(`${surface.join('\n\n')}\n`).toMatchFileSnapshot('../fixtures/public-surface.txt')
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
