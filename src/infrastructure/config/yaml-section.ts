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

/** An item of a list. */
export interface Item {
  readonly node: Node
  readonly path: string
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
    problems.addAt(error.pos[0], '', error.message.split(/[\n:]/)[0] ?? error.code)
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
    if (!isMap(node)) {
      file.problems.add(node, path, isNull(node) ? 'is empty' : 'must be a mapping of keys')
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

  /** Of an item of one of its lists. */
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
    if (!isSeq(entry.node)) {
      const problem = isNull(entry.node) ? 'is empty' : 'must be a list'
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
    this.problem(key, isNull(entry.node) ? 'is empty' : 'must be a single value')
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
    } else if (entries.has(text)) {
      if (!isMerged) file.problems.add(key, keyPath, 'is given twice')
    } else if (infoOf(name, text).state === 'unsupported') {
      file.problems.add(key, keyPath, 'not supported by this version')
    } else {
      entries.set(text, { node: resolve(file, value, keyPath), keyNode: key })
    }
  }
  return entries
}

const places: readonly { readonly section: Section; readonly path: string }[] = [
  { section: 'global', path: 'the top level' },
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
  const nearest = nearestName(text, Object.keys(keys[name]))
  return nearest === undefined ? 'unknown key' : `unknown key, did you mean ${nearest}?`
}

/** A key and its value; `isMerged`: they come from another mapping. */
interface Pair {
  readonly key: Node
  readonly value: Node | null
  readonly isMerged: boolean
}

/** The pairs of a mapping, and behind them those of the mappings that it merges (`<<`), the first ones first. */
function pairsOf(
  file: YamlFile,
  map: YamlMapping,
  path: string,
  outer: readonly Node[] = [],
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
        file.problems.add(key, at, 'must be another mapping, or a list of such')
        return []
      }
      return pairsOf(file, part as YamlMapping, path, [...outer, map])
    })
  })
  return [
    ...own.map(({ key, value }) => ({ key, value, isMerged: false })),
    ...merged.map((pair) => ({ ...pair, isMerged: true })),
  ]
}

/** What an alias (`*name`) stands for; every other node is what it is. */
function resolve(
  { document, problems }: YamlFile,
  node: Node | null | undefined,
  path: string,
): Node | undefined {
  if (!isAlias(node)) return node ?? undefined
  const target = node.resolve(document)
  // Its name may be a secret that begins with a star.
  if (target === undefined) problems.add(node, path, 'no anchor has the name behind *')
  return target
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
