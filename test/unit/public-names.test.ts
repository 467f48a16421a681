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

/** A member of a class without what it does inside. A property keeps its value, which is its type. */
function withoutBody(member: ts.ClassElement): ts.ClassElement {
  const { factory } = ts
  if (ts.isConstructorDeclaration(member)) {
    return factory.updateConstructorDeclaration(
      member,
      member.modifiers,
      member.parameters,
      undefined,
    )
  }
  if (!ts.isMethodDeclaration(member)) return member
  const { modifiers, asteriskToken, name, questionToken, typeParameters, parameters, type } = member
  // prettier-ignore
  return factory.updateMethodDeclaration(
    member, modifiers, asteriskToken, name, questionToken, typeParameters, parameters, type, undefined,
  )
}

/** As in a declaration file, without comments. */
function signatureOf(statement: ts.Statement): string {
  const printer = ts.createPrinter({ removeComments: true })
  const print = (node: ts.Node): string =>
    printer.printNode(ts.EmitHint.Unspecified, node, statement.getSourceFile())
  if (ts.isClassDeclaration(statement)) {
    const { modifiers, name, typeParameters, heritageClauses, members } = statement
    const seen = members.filter(
      (each) => each.name === undefined || !ts.isPrivateIdentifier(each.name),
    )
    return print(
      // prettier-ignore
      ts.factory.updateClassDeclaration(
        statement, modifiers, name, typeParameters, heritageClauses, seen.map(withoutBody),
      ),
    )
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
  const { name, exports } = JSON.parse(readFileSync(join(src, '../package.json'), 'utf8')) as {
    readonly name: string
    readonly exports: object
  }
  const paths = Object.keys(exports).map((path) => `// ${path.replace('.', name)}`)
  const imported = ['// What can be imported:', ...paths].join('\n')
  const surface = [
    imported,
    ...text,
    '// What these refer to, which has no public name.',
    ...others,
  ]
  await expect(`${surface.join('\n\n')}\n`).toMatchFileSnapshot('../fixtures/public-surface.txt')
})

/** The doc comments of a declaration, or of what is in it. */
function saidOf(node: ts.Node): string {
  return ts
    .getJSDocCommentsAndTags(node)
    .map((each) => each.getText())
    .join('\n')
}

type Member = ts.PropertySignature | ts.PropertyDeclaration | ts.MethodSignature

const isMember = (node: ts.Node): node is Member =>
  ts.isPropertySignature(node) || ts.isPropertyDeclaration(node) || ts.isMethodSignature(node)

/** What a declaration consists of: its members, and theirs where a type is written out in place. */
function membersIn(node: ts.Node): readonly Member[] {
  const found: Member[] = []
  node.forEachChild((child) => {
    // Nobody else makes errors of ours.
    if (ts.isBlock(child) || ts.isConstructorDeclaration(child)) return
    if (isMember(child) && !ts.isPrivateIdentifier(child.name)) found.push(child)
    found.push(...membersIn(child))
  })
  return found
}

/** One that only tells the kind of what it is in, as `code` of an error. */
const isMark = ({ type }: Member): boolean =>
  type === undefined || ts.isLiteralTypeNode(type) || type.kind === ts.SyntaxKind.NeverKeyword

const placeOf = (of: ts.Statement, member: Member): string =>
  `${ts.isDeclarationStatement(of) ? (of.name?.getText() ?? '') : ''}.${member.name.getText()}`

test('every public name says what it is, and so does all that it has', () => {
  const unsaid = [...declarations()].flatMap(([name, statements]) =>
    statements.flatMap((statement) => [
      ...(saidOf(statement) === '' ? [name] : []),
      ...membersIn(statement)
        .filter((member) => !isMark(member) && saidOf(member) === '')
        .map((member) => placeOf(statement, member)),
    ]),
  )
  expect(unsaid).toEqual([])
})

test('every number of the public types says what it counts, and in which unit', () => {
  const units = { Ms: /\bmilliseconds\b/i, Bytes: /\bbytes\b/i, '': /\w/ } as const
  const statements = [...[...declarations()].flatMap(([, each]) => each), ...referredByPublic()]
  const unsaid = statements.flatMap((statement) =>
    membersIn(statement)
      .filter(({ type }) => type !== undefined && /\bnumber\b/.test(type.getText()))
      .filter((member) => {
        const ending = /(?:Ms|Bytes|)$/.exec(member.name.getText())?.[0] as keyof typeof units
        // The unit may be said once for all that a type has.
        const said = saidOf(member) + (ending === '' ? '' : saidOf(statement))
        return !units[ending].test(said)
      })
      .map((member) => placeOf(statement, member)),
  )
  expect(unsaid).toEqual([])
})

test('whatever returns a promise says with what it rejects', () => {
  const unsaid = [...declarations()].flatMap(([name, statements]) =>
    statements.flatMap((statement) =>
      [statement, ...membersIn(statement)]
        .filter((each) => ts.isFunctionDeclaration(each) || ts.isMethodSignature(each))
        .filter(({ type }) => type?.getText().startsWith('Promise<'))
        .filter((each) => !/\brejects\b/i.test(saidOf(each)))
        .map((each) => `${name}: ${each.name?.getText() ?? ''}`),
    ),
  )
  expect(unsaid).toEqual([])
})
