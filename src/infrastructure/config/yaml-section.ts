/**
 * The mappings of a YAML file, read by the table of keys. Aliases stand for what they name, and a mapping has the keys
 * of those that it merges (`<<`), where it has none of its own.
 */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLMap,
} from 'yaml'
import { nearestName } from '../../kit/nearest-name.js'
import { infoOf, isKeyOf, type KeyOf, keys, type Section, type ValueOf } from './keys.js'
import { Problems } from './problems.js'
import { readScalar, type Scalar } from './scalars.js'
import { type Settings } from './settings.js'

interface YamlFile {
  readonly document: Document
  readonly problems: Problems
}

interface Entry {
  readonly node: Node | undefined
  readonly keyNode: Node
}

export interface Item {
  readonly node: Node
  readonly path: string
}

/** What to do about mistakes in YAML itself, in addition to what its parser says. */
const cures: Readonly<Record<string, string>> = {
  BAD_INDENT: 'the lines of a list, and those of a mapping, begin in the same column',
  BLOCK_AS_IMPLICIT_KEY: 'a value with ": " in it needs quotes',
  MISSING_CHAR: 'a colon, quote or bracket is missing',
  MULTIPLE_DOCS: 'a configuration is one document: remove the second ---',
  TAB_AS_INDENT: 'use spaces',
}

/** The outermost mapping of a file, and where everything that is wrong with the file is gathered. */
export function parseYaml(
  text: string,
  file: string,
): { readonly root: YamlSection<'global'>; readonly problems: Problems } {
  const lineCounter = new LineCounter()
  const document = parseDocument(text, { lineCounter, uniqueKeys: false, version: '1.1' })
  const problems = new Problems(file, lineCounter)
  for (const error of document.errors) {
    // What comes after a colon may be a piece of the file, which may be a secret.
    const [text = ''] = error.message.split(/[\n:;]| at line /)
    const cure = cures[error.code]
    problems.addAt(error.pos[0], '', cure === undefined ? text : `${text} (${cure})`)
  }
  problems.throwIfAny()
  const { contents } = document
  const place = { name: 'global', path: '' } as const
  const root =
    (isNull(contents) ? undefined : YamlSection.of({ document, problems }, contents, place)) ??
    new YamlSection({ document, problems }, { ...place, node: undefined, entries: new Map() })
  return { root, problems }
}

/** One mapping, whose keys have been checked against the table. */
export class YamlSection<S extends Section> implements Settings<S> {
  readonly path: string
  readonly #file: YamlFile
  readonly #name: S
  readonly #node: Node | undefined
  readonly #entries: ReadonlyMap<KeyOf<S>, Entry>

  constructor(
    file: YamlFile,
    section: {
      readonly name: S
      readonly path: string
      readonly node: Node | undefined
      readonly entries: ReadonlyMap<KeyOf<S>, Entry>
    },
  ) {
    this.#file = file
    this.#name = section.name
    this.path = section.path
    this.#node = section.node
    this.#entries = section.entries
  }

  /** The section that a node is; undefined where it is none, which is reported. */
  static of<S extends Section>(
    file: YamlFile,
    node: Node | null | undefined,
    { name, path }: { readonly name: S; readonly path: string },
  ): YamlSection<S> | undefined {
    if (isAlias(node)) return undefined
    if (!isMap(node)) {
      const wanted = 'must be "key: value" lines'
      file.problems.add(node, path, isNull(node) ? empty : `${wanted}, not ${kindOf(node)}`)
      return undefined
    }
    const entries = entriesOf(file, node as YamlMapping, { name, path })
    return new YamlSection(file, { name, path, node, entries })
  }

  has(key: KeyOf<S>): boolean {
    return this.#entries.has(key)
  }

  value<K extends KeyOf<S>>(key: K): ValueOf<S, K> {
    const report = (problem: string): void => this.problem(key, problem)
    return readScalar({ section: this.#name, name: key }, this.#scalar(key), report)
  }

  /** Of a key, with its value if it has one; without a key, of the whole section. */
  problem(key: KeyOf<S> | undefined, problem: string): void {
    const entry = key === undefined ? undefined : this.#entries.get(key)
    const path = key === undefined ? this.path : keyPathOf(this.path, key)
    this.#file.problems.add(entry?.node ?? entry?.keyNode ?? this.#node, path, problem)
  }

  itemProblem(item: Item, problem: string): void {
    this.#file.problems.add(item.node, item.path, problem)
  }

  /** Its keys, and those that it merges. */
  get keys(): readonly KeyOf<S>[] {
    return [...this.#entries.keys()]
  }

  section<Inner extends Section>(key: KeyOf<S>, name: Inner): YamlSection<Inner> | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    const path = keyPathOf(this.path, key)
    return YamlSection.of(this.#file, entry.node ?? entry.keyNode, { name, path })
  }

  sections<Inner extends Section>(key: KeyOf<S>, name: Inner): YamlSection<Inner>[] {
    return (this.items(key) ?? []).flatMap(
      ({ node, path }) => YamlSection.of(this.#file, node, { name, path }) ?? [],
    )
  }

  /** The items of a list; undefined where the key is absent, or no list, which is reported. */
  items(key: KeyOf<S>): Item[] | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    const path = keyPathOf(this.path, key)
    if (isAlias(entry.node)) return undefined
    if (!isSeq(entry.node)) {
      const wanted = 'must be a list, each item after "-"'
      const problem = isNull(entry.node) ? empty : `${wanted}, not ${kindOf(entry.node)}`
      this.#file.problems.add(entry.keyNode, path, problem)
      return undefined
    }
    return (entry.node.items as (Node | null)[]).map((item, i) => {
      const itemPath = `${path}[${i}]`
      return { node: resolve(this.#file, item, itemPath) ?? entry.keyNode, path: itemPath }
    })
  }

  #scalar(key: KeyOf<S>): Scalar | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    if (isScalar(entry.node) && !isNull(entry.node)) {
      const { value, source = '' } = entry.node
      return { value, text: source }
    }
    const { node } = entry
    if (isAlias(node)) return undefined
    this.problem(key, isNull(node) ? empty : `must be a single value, not ${kindOf(node)}`)
    return undefined
  }
}

type YamlMapping = YAMLMap<Node, Node | null>

function entriesOf<S extends Section>(
  file: YamlFile,
  map: YamlMapping,
  { name, path }: { readonly name: S; readonly path: string },
): ReadonlyMap<KeyOf<S>, Entry> {
  const entries = new Map<KeyOf<S>, Entry>()
  for (const { key, value, isMerged } of pairsOf(file, map, path)) {
    const text = isScalar(key) ? String(key.value) : ''
    const keyPath = keyPathOf(path, text)
    if (!isKeyOf(name, text)) {
      file.problems.add(key, keyPath, describeUnknown(name, text))
      continue
    }
    const other = entries.get(text)
    if (other !== undefined) {
      const line = file.problems.lineOf(other.keyNode)
      if (!isMerged) file.problems.add(key, keyPath, `is given twice, first on line ${line}`)
    } else if (infoOf(name, text).state === 'unsupported') {
      const problem = 'not supported by this version: it belongs to replicas of type sftp'
      file.problems.add(key, keyPath, problem)
    } else {
      entries.set(text, { node: resolve(file, value, keyPath), keyNode: key })
    }
  }
  return entries
}

const places: readonly { readonly section: Section; readonly path: string }[] = [
  { section: 'global', path: 'the top level' },
  { section: 'socket', path: 'socket' },
  { section: 'logging', path: 'logging' },
  { section: 'database', path: 'dbs[]' },
  { section: 'replica', path: 'dbs[].replicas[]' },
  { section: 'age', path: 'dbs[].replicas[].age' },
]

function describeUnknown(name: Section, text: string): string {
  const homes = places.filter(({ section }) => Object.hasOwn(keys[section], text))
  if (homes.length > 0) {
    return `unknown key here, it belongs to ${homes.map(({ path }) => path).join(' or ')}`
  }
  const known = Object.keys(keys[name])
  const nearest = nearestName(text, known)
  if (nearest !== undefined) return `unknown key, did you mean ${nearest}?`
  return known.length > 10 ? 'unknown key' : `unknown key (known here: ${known.join(', ')})`
}

/** A key and its value; `isMerged`: they come from another mapping. */
interface Pair {
  readonly key: Node
  readonly value: Node | null
  readonly isMerged: boolean
}

/**
 * The pairs of a mapping, and after them those of the mappings that it merges (`<<`), the first ones first. One that is merged
 * again brings nothing new: a few lines of mappings that merge each other twice would else be a million.
 */
function pairsOf(
  file: YamlFile,
  map: YamlMapping,
  path: string,
  { outer, merged: known }: { outer: readonly Node[]; merged: Set<Node> } = {
    outer: [],
    merged: new Set(),
  },
): Pair[] {
  const own = map.items.filter(({ key }) => !isMergeKey(key))
  const merged = map.items.flatMap(({ key, value }) => {
    if (!isMergeKey(key)) return []
    const at = keyPathOf(path, '<<')
    const source = resolve(file, value, at)
    const parts = isSeq(source)
      ? (source.items as (Node | null)[]).map((item) => resolve(file, item, at))
      : [source]
    return parts.flatMap((part) => {
      if (!isMap(part) || part === map || outer.includes(part)) {
        file.problems.add(key, at, 'must be a mapping or a list of mappings')
        return []
      }
      if (known.has(part)) return []
      known.add(part)
      const context = { outer: [...outer, map], merged: known }
      return pairsOf(file, part as YamlMapping, path, context)
    })
  })
  return [
    ...own.map(({ key, value }) => ({ key, value, isMerged: false })),
    ...merged.map((pair) => ({ ...pair, isMerged: true })),
  ]
}

/** What an alias (`*name`) stands for; an alias only where it stands for nothing, which is reported. Other nodes are what they are. */
function resolve(
  { document, problems }: YamlFile,
  node: Node | null | undefined,
  path: string,
): Node | undefined {
  if (!isAlias(node)) return node ?? undefined
  const target = node.resolve(document)
  // Its name may be a secret that begins with a star.
  if (target === undefined) {
    const cure = 'a value that begins with * needs quotes'
    problems.add(node, path, `there is no anchor of this name (${cure})`)
  }
  return target ?? node
}

const empty = 'is empty: give it a value, or remove it'

/** Never the value itself, which may be a secret that is in the wrong place. */
function kindOf(node: Node | null | undefined): string {
  if (isMap(node)) return 'keys with values'
  return isSeq(node) ? 'a list' : 'a single value'
}

function isNull(node: Node | null | undefined): boolean {
  return node === null || node === undefined || (isScalar(node) && node.value === null)
}

function isMergeKey(key: Node): boolean {
  return isScalar(key) && key.type === 'PLAIN' && key.source === '<<'
}

function keyPathOf(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}
