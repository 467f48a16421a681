/**
 * `npm run messages [WORD...]`: every text of the program that somebody may read, by file and line, with what kind of text
 * it is: errors, hints, log lines, help, headings, and whatever else has more than one word. Words narrow the list to the
 * lines that hold one of them. For reading all of them in one go, and for finding where one comes from.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import ts from 'typescript'

const root = join(import.meta.dirname, '..')
const levels = new Set(['debug', 'info', 'warn', 'error'])
const helpCalls = new Set(['command', 'description', 'option', 'argument', 'gauge', 'counter'])
const printCalls = new Set(['print', 'complain'])

interface Message {
  readonly place: string
  readonly kind: string
  readonly text: string
}

/** The text as it is read, with the source of what is filled in. */
function textOf(node: ts.Expression, source: ts.SourceFile): string | undefined {
  if (ts.isStringLiteralLike(node)) return node.text
  if (!ts.isTemplateExpression(node)) return undefined
  const spans = node.templateSpans.map(
    ({ expression, literal }) => `\${${expression.getText(source)}}${literal.text}`,
  )
  return (node.head.text + spans.join('')).replaceAll(/\s*\n\s*/g, ' ')
}

function calledName({ expression }: ts.CallExpression): string {
  if (ts.isIdentifier(expression)) return expression.text
  return ts.isPropertyAccessExpression(expression) ? expression.name.text : ''
}

/** What a text is, by where it stands; `text` where that does not tell, undefined where it is none for people. */
function kindOf(text: ts.Expression): string | undefined {
  let node: ts.Node = text
  for (; !ts.isStatement(node.parent); node = node.parent) {
    const { parent } = node
    if (ts.isImportDeclaration(parent) || ts.isTypeNode(parent)) return undefined
    if (ts.isPropertyAssignment(parent) && parent.initializer === node) {
      return ts.isIdentifier(parent.name) || ts.isStringLiteral(parent.name)
        ? parent.name.text
        : 'text'
    }
    if (ts.isNewExpression(parent) && parent.arguments?.includes(node as ts.Expression) === true) {
      return ts.isIdentifier(parent.expression) ? parent.expression.text : 'text'
    }
    if (ts.isCallExpression(parent) && parent.expression !== node) {
      const name = calledName(parent)
      if (name === 'super') continue
      if (levels.has(name) && ts.isPropertyAccessExpression(parent.expression)) return `log ${name}`
      if (helpCalls.has(name)) return 'help'
      if (printCalls.has(name)) return 'print'
    }
  }
  return ts.isImportDeclaration(node.parent) || ts.isExportDeclaration(node.parent)
    ? undefined
    : 'text'
}

/** One word is a name or a value, unless it is said by itself. */
function isMessage(text: string, kind: string): boolean {
  if (!/[a-zA-Z]/.test(text)) return false
  return /\S\s+\S/.test(text.trim()) || /^(?:log |help|hint|.*Error$)/.test(kind)
}

function messagesOf(path: string): Message[] {
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true)
  const found: Message[] = []
  const visit = (node: ts.Node): void => {
    const text = ts.isExpression(node) ? textOf(node, source) : undefined
    if (text !== undefined) {
      const kind = kindOf(node as ts.Expression)
      if (kind !== undefined && isMessage(text, kind)) {
        const { line } = source.getLineAndCharacterOfPosition(node.getStart(source))
        found.push({ place: `${relative(root, path)}:${line + 1}`, kind, text })
      }
    }
    // What is filled in may hold texts of its own.
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .toSorted()
const words = process.argv.slice(2).map((word) => word.toLowerCase())
for (const file of files) {
  for (const { place, kind, text } of messagesOf(join(root, 'src', file))) {
    const line = `${place}  [${kind}]  ${text}`
    const isWanted = words.length === 0 || words.some((word) => line.toLowerCase().includes(word))
    if (isWanted) process.stdout.write(`${line}\n`)
  }
}
