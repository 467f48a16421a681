/**
 * `npm run districts`: the import graph of src by district. It prints how many files and lines each district has, and which
 * districts it imports. It ends with 1 if a rule of .dependency-cruiser.cjs is broken, if districts import each other in a
 * circle, or if a file has more than 500 lines and its first comment gives no reason ("In one file because …").
 */
import { readFileSync } from 'node:fs'
import { cruise, type ICruiseResult } from 'dependency-cruiser'
import extractOptions from 'dependency-cruiser/config-utl/extract-depcruise-options'
import extractTsConfig from 'dependency-cruiser/config-utl/extract-ts-config'

const maxLines = 500
const reason = 'In one file because'

/** A folder of a layer, or a file that stands alone in domain or usecase; adapters of stores are folders one level deeper. */
function districtOf(path: string): string {
  const parts = path.replace(/^src\//, '').split('/')
  const layer = parts[0] ?? ''
  const standsAlone = layer === 'domain' || layer === 'usecase'
  if (parts.length === 1 || layer === 'kit' || (parts.length === 2 && !standsAlone))
    return layer.replace('.ts', '')
  const depth = parts[1] === 'replica-clients' && parts.length > 3 ? 3 : 2
  return parts.slice(0, depth).join('/').replace('.ts', '')
}

/** The groups of districts that reach each other. */
function circlesOf(arrows: ReadonlyMap<string, ReadonlyMap<string, number>>): string[][] {
  const reachable = (from: string): Set<string> => {
    const seen = new Set<string>()
    const open = [from]
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const to of arrows.get(next)?.keys() ?? []) {
        if (seen.has(to)) continue
        seen.add(to)
        open.push(to)
      }
    }
    return seen
  }
  const reach = new Map([...arrows.keys()].map((district) => [district, reachable(district)]))
  const groups = new Map<string, string[]>()
  for (const [district, others] of reach) {
    if (!others.has(district)) continue
    const group = [...others].filter((other) => reach.get(other)?.has(district)).sort()
    groups.set(group.join(), group)
  }
  return [...groups.values()]
}

async function cruiseSources(): Promise<ICruiseResult> {
  const options = await extractOptions('./.dependency-cruiser.cjs')
  const { output } = await cruise(['src'], options, undefined, {
    tsConfig: extractTsConfig('tsconfig.json'),
  })
  if (typeof output === 'string') throw new Error(output)
  return output
}

const { modules, summary } = await cruiseSources()
const arrows = new Map<string, Map<string, number>>()
const sizes = new Map<string, { files: number; lines: number }>()
const long: string[] = []
for (const { source, dependencies } of modules) {
  if (!source.startsWith('src/')) continue
  const text = readFileSync(source, 'utf8')
  const lines = text.split('\n').length - 1
  const from = districtOf(source)
  const size = sizes.get(from) ?? { files: 0, lines: 0 }
  sizes.set(from, { files: size.files + 1, lines: size.lines + lines })
  const head = /^\/\*\*[^]*?\*\//.exec(text)?.[0] ?? ''
  if (lines > maxLines && !head.includes(reason)) long.push(`${source} (${lines} lines)`)
  const targets = arrows.get(from) ?? new Map<string, number>()
  arrows.set(from, targets)
  for (const { resolved } of dependencies) {
    const to = districtOf(resolved)
    if (resolved.startsWith('src/') && to !== from) targets.set(to, (targets.get(to) ?? 0) + 1)
  }
}

const districts = [...sizes].sort(([a], [b]) => a.localeCompare(b))
const width = Math.max(...districts.map(([name]) => name.length))
const print = (line: string): void => void process.stdout.write(`${line}\n`)
for (const [name, { files, lines }] of districts) {
  const targets = [...(arrows.get(name) ?? [])].sort(([a], [b]) => a.localeCompare(b))
  const imports = targets.map(([to, count]) => `${to} ${count}`).join(', ')
  print(`${name.padEnd(width)} ${`${files}`.padStart(3)} files ${`${lines}`.padStart(6)} lines`)
  if (imports !== '') print(`${''.padEnd(width)} → ${imports}`)
}

const circles = circlesOf(arrows).map((circle) => circle.join(', '))
const violations = summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`)
const total = districts.reduce((sum, [, { lines }]) => sum + lines, 0)
const arrowCount = [...arrows.values()].reduce((sum, targets) => sum + targets.size, 0)
print(`\n${districts.length} districts, ${arrowCount} arrows, ${total} lines of src`)
for (const [what, found] of [
  ['rules broken', violations],
  ['circles of districts', circles],
  [`files above ${maxLines} lines without a reason in their first comment`, long],
] as const) {
  print(`${what}: ${found.length === 0 ? 'none' : ''}`.trimEnd())
  for (const line of found) print(`  ${line}`)
}
process.exitCode = violations.length + circles.length + long.length > 0 ? 1 : 0
