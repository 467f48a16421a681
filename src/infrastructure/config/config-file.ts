import { readFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'

import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Node,
  type YAMLMap,
} from 'yaml'

import {
  type AgeKeys,
  type Config,
  type DatabaseConfig,
  type DatabaseFolder,
  type HeartbeatConfig,
  type ListenAddress,
  type LoggingConfig,
  type ReplicaConfig,
  type ReplicaTarget,
} from '../../domain/settings/config.js'
import { splitCommandLine } from '../../kit/command-line.js'
import { patternProblem } from '../../domain/settings/database-folder.js'
import { parseDuration } from '../../kit/duration.js'
import { ConfigError } from '../../domain/errors.js'
import { nearestName } from '../../kit/nearest-name.js'
import { Secret } from '../../domain/settings/secret.js'
import { type RetentionRules } from '../../domain/policy/retention-policy.js'
import { type Environment, expandEnvironment, findUnset } from './environment.js'
import { parseAddress } from './listen-address.js'
import { keys, objectStoreTypes, type Section } from './keys.js'
import { parseDatabasePath } from './database-path.js'
import { expandPath, followLinks, type PathContext } from './paths.js'
import { describePlace, type Place, readTarget } from './replica-target.js'
import {
  cleanPrefix,
  parseReplicaUrl,
  querySettings,
  type ReplicaUrl,
  splitReplicaUrl,
  unknownType,
  withoutSecrets,
} from './replica-url.js'
import { layerSettings, parseSize, type TargetSettings } from './target-settings.js'

/** What of the surroundings a configuration depends on. */
export interface ConfigContext extends PathContext {
  readonly env: Environment
}

export interface LoadConfigOptions extends ConfigContext {
  /** The file; undefined: the default places. */
  readonly path?: string | undefined
  readonly expandEnv: boolean
}

/** Reads and validates a configuration file. All problems are in one {@link ConfigError}, one line each. */
export function loadConfig(options: LoadConfigOptions): Config {
  const { path, text } = findFile(options)
  if (!options.expandEnv) return parseConfig(text, path, options)
  const unset = findUnset(text, options.env)
  const expanded = expandEnvironment(text, options.env)
  if (unset.length === 0) return parseConfig(expanded, path, options)
  const warning = `not set in the environment, and so empty here: ${unset.join(', ')}`
  try {
    const config = parseConfig(expanded, path, options)
    return { ...config, warnings: [warning, ...config.warnings] }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    throw new ConfigError(error.message, { cause: error, hint: warning })
  }
}

/** The configuration file that a command reads. Throws {@link ConfigError} if there is none. */
export function findConfigFile(
  options: Pick<LoadConfigOptions, 'path' | 'env' | 'cwd' | 'home'>,
): string {
  return findFile(options).path
}

function findFile(options: Pick<LoadConfigOptions, 'path' | 'env' | 'cwd' | 'home'>): {
  path: string
  text: string
} {
  const given = options.path ?? options.env['LITESTREAM_CONFIG']
  const isNamed = given !== undefined && given !== ''
  const candidates = isNamed
    ? [expandPath(given, options)]
    : ['/etc/tsreplicate.yml', '/etc/litestream.yml']
  for (const path of candidates) {
    try {
      return { path, text: readFileSync(path, 'utf8') }
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code !== 'ENOENT') {
        throw new ConfigError(`config file cannot be read: ${path}: ${String(code)}`, {
          cause: error,
        })
      }
    }
  }
  const message = `config file not found: ${candidates[0] ?? ''}`
  if (!isNamed) throw new ConfigError(message, { hint: noFileHint })
  throw new ConfigError(
    message,
    options.path === undefined ? { hint: 'LITESTREAM_CONFIG names it.' } : {},
  )
}

const noFileHint =
  'Name it with -config or in LITESTREAM_CONFIG. A replica needs none if it is given as a URL: a folder is written file:///absolute/path.'

/** Validates the text of a configuration file, whose variables are already expanded. */
export function parseConfig(text: string, file: string, context: ConfigContext): Config {
  const lineCounter = new LineCounter()
  const document = parseDocument(text, { lineCounter, uniqueKeys: false, version: '1.1' })
  const problems = new Problems(file, lineCounter)
  for (const error of document.errors) {
    // What comes after a colon may be a piece of the file, which may be a secret.
    problems.addAt(error.pos[0], '', error.message.split(/[\n:]/)[0] ?? error.code)
  }
  problems.throwIfAny()
  return new Reader(problems, context, { path: file, document }).config(document.contents)
}

class Problems {
  readonly #file: string
  readonly #lineCounter: LineCounter
  readonly #found: { line: number; text: string }[] = []

  constructor(file: string, lineCounter: LineCounter) {
    this.#file = file
    this.#lineCounter = lineCounter
  }

  add(node: Node | null | undefined, path: string, problem: string): void {
    this.addAt(node?.range?.[0] ?? 0, path, problem)
  }

  addAt(offset: number, path: string, problem: string): void {
    const line = Math.max(1, this.#lineCounter.linePos(offset).line)
    const place = path === '' ? '' : `${path}: `
    const text = `${this.#file}:${line}: ${place}${problem}`
    // A key that is read twice is wrong once.
    if (!this.#found.some((known) => known.text === text)) this.#found.push({ line, text })
  }

  throwIfAny(): void {
    if (this.#found.length === 0) return
    this.#found.sort((a, b) => a.line - b.line)
    throw new ConfigError(this.#found.map(({ text }) => text).join('\n'))
  }
}

interface Entry {
  readonly node: Node | undefined
  readonly keyNode: Node
}

/** One mapping of the file whose keys have been checked against the table. */
interface Fields {
  readonly node: Node
  readonly section: Section
  readonly path: string
  readonly entries: ReadonlyMap<string, Entry>
}

/** A key and its value; `isMerged`: they come from another mapping. */
interface Pair {
  readonly key: Node
  readonly value: Node | null
  readonly isMerged: boolean
}

class Reader {
  readonly #problems: Problems
  readonly #context: ConfigContext
  readonly #file: string
  readonly #document: Document
  readonly #warnings = new Set<string>()
  #globalCredentials: {
    readonly accessKeyId?: string | undefined
    readonly secretAccessKey?: string | undefined
  } = {}
  #sawS3 = false

  constructor(
    problems: Problems,
    context: ConfigContext,
    file: { readonly path: string; readonly document: Document },
  ) {
    this.#problems = problems
    this.#context = context
    this.#file = file.path
    this.#document = file.document
  }

  config(root: Node | null): Config {
    const empty = root === null || (isScalar(root) && root.value === null)
    const fields = empty ? undefined : this.#fields(root, 'global', '')
    this.#globalCredentials = {
      accessKeyId: this.#string(fields, 'access-key-id'),
      secretAccessKey: this.#string(fields, 'secret-access-key'),
    }
    const config = {
      source: this.#file,
      ...this.#databases(fields),
      logging: this.#logging(fields),
      addr: this.#address(fields),
      shutdownTimeoutMs: this.#positive(fields, 'shutdown-timeout', defaultTimeoutMs),
      exec: this.#exec(fields),
      firstSyncTimeoutMs: this.#positive(fields, 'first-sync-timeout', defaultTimeoutMs),
    }
    this.#problems.throwIfAny()
    for (const key of ['access-key-id', 'secret-access-key']) {
      if (fields?.entries.has(key) === true && !this.#sawS3) {
        this.#warnings.add(`${key} has no effect: there is no s3 replica`)
      }
    }
    return { ...config, warnings: [...this.#warnings] }
  }

  #exec(global: Fields | undefined): readonly string[] | undefined {
    const text = this.#string(global, 'exec')
    if (text === undefined || global === undefined) return undefined
    const line = splitCommandLine(text)
    if (line.kind === 'words') return line.words
    const { problem, hint } = line
    const more = hint === undefined ? '' : `. ${hint}`
    this.#at(global, 'exec', `cannot parse exec command: ${problem}${more}`)
    return undefined
  }

  /** What an alias (`*name`) stands for; every other node is what it is. */
  #resolve(node: Node | null | undefined, path: string): Node | undefined {
    if (!isAlias(node)) return node ?? undefined
    const target = node.resolve(this.#document)
    // Its name may be a secret that begins with a star.
    if (target === undefined) this.#problems.add(node, path, 'no anchor has the name behind *')
    return target
  }

  /** The pairs of a mapping, and behind them those of the mappings that it merges (`<<`), the first ones first. */
  #pairs(map: YAMLMap<Node, Node | null>, path: string, outer: readonly Node[] = []): Pair[] {
    const own = map.items.filter(({ key }) => !isMergeKey(key))
    const merged = map.items.flatMap(({ key, value }) => {
      if (!isMergeKey(key)) return []
      const at = keyPathOf(path, '<<')
      const source = this.#resolve(value, at)
      const parts = isSeq(source)
        ? (source.items as (Node | null)[]).map((item) => this.#resolve(item, at))
        : [source]
      return parts.flatMap((part) => {
        if (!isMap(part) || part === map || outer.includes(part)) {
          this.#problems.add(key, at, 'must be another mapping, or a list of such')
          return []
        }
        return this.#pairs(part as YAMLMap<Node, Node | null>, path, [...outer, map])
      })
    })
    return [
      ...own.map(({ key, value }) => ({ key, value, isMerged: false })),
      ...merged.map((pair) => ({ ...pair, isMerged: true })),
    ]
  }

  #fields(node: Node | null | undefined, section: Section, path: string): Fields | undefined {
    if (!isMap(node)) {
      this.#problems.add(node, path, isNull(node) ? 'is empty' : 'must be a mapping of keys')
      return undefined
    }
    const entries = new Map<string, Entry>()
    const known = Object.keys(keys[section])
    for (const { key, value, isMerged } of this.#pairs(node as YAMLMap<Node, Node | null>, path)) {
      const name = isScalar(key) ? String(key.value) : ''
      const keyPath = keyPathOf(path, name)
      const info = Object.hasOwn(keys[section], name) ? keys[section][name] : undefined
      if (info === undefined) {
        const nearest = nearestName(name, known)
        const suggestion = nearest === undefined ? '' : `, did you mean ${nearest}?`
        this.#problems.add(key, keyPath, `unknown key${suggestion}`)
      } else if (entries.has(name)) {
        if (!isMerged) this.#problems.add(key, keyPath, 'is given twice')
      } else if (info.state === 'unsupported') {
        this.#problems.add(key, keyPath, 'not supported by this version')
      } else {
        entries.set(name, { node: this.#resolve(value, keyPath), keyNode: key })
      }
    }
    return { node, section, path, entries }
  }

  #databases(global: Fields | undefined): Pick<Config, 'databases' | 'folders'> {
    const databases: DatabaseConfig[] = []
    const folders: DatabaseFolder[] = []
    const seenPaths = new Set<string>()
    const pathsByFile = new Map<string, string>()
    const seenMetaPaths = new Set<string>()
    const seenPlaces = new Map<string, string>()
    for (const { node, path } of this.#list(global, 'dbs')) {
      const fields = this.#fields(node, 'database', path)
      if (fields === undefined) continue
      if (fields.entries.has('dir')) {
        const folder = this.#folder(fields, seenPlaces)
        if (folder === undefined) continue
        if (seenPaths.has(folder.path)) this.#at(fields, 'dir', `given twice: ${folder.path}`)
        seenPaths.add(folder.path)
        folders.push(folder)
        continue
      }
      for (const key of ['pattern', 'recursive', 'watch'].filter((k) => fields.entries.has(k))) {
        this.#at(fields, key, 'means nothing without dir')
      }
      const database = this.#database(fields, seenPlaces)
      if (database === undefined) continue
      const at = fields.entries.get('path')?.node
      const file = database.linkTarget ?? database.path
      const other = pathsByFile.get(file)
      if (seenPaths.has(database.path)) {
        this.#problems.add(at, `${path}.path`, `duplicate database path: ${database.path}`)
      } else if (other !== undefined) {
        const text = `is the same database as ${other}: both lead to ${file}`
        this.#problems.add(at, `${path}.path`, text)
      } else if (seenMetaPaths.has(database.metaPath)) {
        const metaAt = fields.entries.get('meta-path')?.node ?? at
        this.#problems.add(metaAt, `${path}.meta-path`, `used twice: ${database.metaPath}`)
      }
      seenPaths.add(database.path)
      pathsByFile.set(file, database.path)
      seenMetaPaths.add(database.metaPath)
      databases.push(database)
    }
    return { databases, folders }
  }

  #folder(fields: Fields, seenPlaces: Map<string, string>): DatabaseFolder | undefined {
    for (const key of ['path', 'restore-if-db-not-exists', 'heartbeat']) {
      if (fields.entries.has(key)) this.#at(fields, key, 'means nothing beside dir')
    }
    const dir = this.#string(fields, 'dir')
    const pattern = this.#string(fields, 'pattern') ?? '*'
    const recursive = this.#boolean(fields, 'recursive') ?? false
    const watch = this.#boolean(fields, 'watch') ?? true
    const metaPath = this.#string(fields, 'meta-path')
    const database = this.#databaseSettings(fields, seenPlaces)
    const problem = patternProblem({ pattern, recursive })
    if (problem !== undefined) this.#at(fields, 'pattern', problem)
    if (dir === undefined) return undefined
    const path = this.#expand(fields, 'dir', dir)
    if (dir.includes('*')) {
      this.#at(
        fields,
        'dir',
        `is one folder, not a pattern: ${dir}. What comes first without * is dir, the rest pattern`,
      )
    }
    for (const { name, target } of database.replicas) {
      if (target.type === 'file' && target.path === path) {
        this.#at(fields, 'replicas', `replica "${name}" would lie at the databases: ${path}`)
      }
    }
    this.#warnOfNoReplica(path, database)
    return {
      path,
      pattern,
      recursive,
      watch,
      metaPath: metaPath === undefined ? undefined : resolve(this.#context.cwd, metaPath),
      database,
    }
  }

  #database(fields: Fields, seenPlaces: Map<string, string>): DatabaseConfig | undefined {
    const rawPath = this.#string(fields, 'path')
    if (rawPath === undefined && !fields.entries.has('path')) {
      this.#problems.add(fields.node, `${fields.path}.path`, 'database path required')
    }
    const path = this.#databasePath(fields, rawPath)
    const metaPath = this.#string(fields, 'meta-path')
    const settings = this.#databaseSettings(fields, seenPlaces)
    if (path === undefined) return undefined
    const database = {
      path,
      ...linkTargetOf(path),
      // Used as it is, as the original does: no `~`.
      metaPath:
        metaPath === undefined ? defaultMetaPath(path) : resolve(this.#context.cwd, metaPath),
      ...settings,
    }
    for (const replica of database.replicas) {
      const problem = placeProblem(replica, database)
      if (problem !== undefined) this.#at(fields, 'replicas', problem)
    }
    this.#warnOfNoReplica(path, database)
    return database
  }

  #databasePath(fields: Fields, text: string | undefined): string | undefined {
    if (text === undefined) return undefined
    const parsed = this.#attempt(fields, 'path', () => parseDatabasePath(text, this.#context))
    if (parsed === undefined) return undefined
    if (parsed.kind === 'path') return parsed.path
    this.#at(fields, 'path', parsed.problem)
    return undefined
  }

  #warnOfNoReplica(path: string, { replicas }: Pick<DatabaseConfig, 'replicas'>): void {
    if (replicas.length === 0) this.#warnings.add(`${path} has no replica: it is stored nowhere`)
  }

  /** What one database and the databases of a folder have in common. */
  #databaseSettings(
    fields: Fields,
    seenPlaces: Map<string, string>,
  ): Omit<DatabaseConfig, 'path' | 'metaPath'> {
    const checkpointIntervalMs = this.#interval(fields, 'checkpoint-interval') ?? 60_000
    const minPages = this.#integer(fields, 'min-checkpoint-page-count') ?? 1000
    const maxPages = this.#integer(fields, 'max-checkpoint-page-count') ?? 10_000
    if (minPages <= 0) {
      this.#at(fields, 'min-checkpoint-page-count', 'must be above 0')
    }
    if (maxPages < 0) {
      this.#at(fields, 'max-checkpoint-page-count', 'must not be below 0 (0 is never)')
    }
    const names = new Set<string>()
    const replicas = this.#list(fields, 'replicas').flatMap(({ node, path: replicaPath }) => {
      const replicaFields = this.#fields(node, 'replica', replicaPath)
      const replica = replicaFields && this.#replica(replicaFields)
      if (replicaFields === undefined || replica === undefined) return []
      if (names.has(replica.name)) {
        const at = replicaFields.entries.get('name')?.node ?? replicaFields.node
        this.#problems.add(at, `${replicaPath}.name`, `duplicate replica name: "${replica.name}"`)
      }
      names.add(replica.name)
      const place = describePlace(replica.target)
      const other = seenPlaces.get(place)
      if (other !== undefined) {
        const text = `${place} is already the place of ${other}`
        this.#problems.add(replicaFields.node, replicaPath, text)
      }
      seenPlaces.set(place, replicaPath)
      return [replica]
    })
    const monitorIntervalMs = this.#positive(fields, 'monitor-interval', 1000)
    const maxSpoolBytes = this.#size(fields, 'max-spool-size') ?? defaultMaxSpoolBytes
    const allowNetworkFileSystem = this.#boolean(fields, 'allow-network-file-system') ?? false
    const validationPath = this.#string(fields, 'validation-path')
    const restoreIfDbNotExists = this.#boolean(fields, 'restore-if-db-not-exists') ?? false
    return {
      monitorIntervalMs,
      checkpointIntervalMs: checkpointIntervalMs > 0 ? checkpointIntervalMs : undefined,
      minCheckpointPageCount: minPages,
      maxCheckpointPageCount: maxPages > 0 ? maxPages : undefined,
      maxSpoolBytes,
      allowNetworkFileSystem,
      validationPath:
        validationPath === undefined
          ? undefined
          : this.#expand(fields, 'validation-path', validationPath),
      restoreIfDbNotExists,
      heartbeat: this.#heartbeat(fields),
      replicas,
    }
  }

  #replica(fields: Fields): ReplicaConfig | undefined {
    const target = this.#target(fields)
    const name = this.#string(fields, 'name') ?? target?.type
    const syncIntervalMs = this.#positive(fields, 'sync-interval', 1000)
    const snapshotIntervalMs = this.#interval(fields, 'snapshot-interval') ?? 0
    const retention = this.#retention(fields)
    const checkIntervalMs = this.#positive(fields, 'retention-check-interval', 3_600_000)
    const leaseMs = this.#duration(fields, 'lease') ?? 0
    if (leaseMs !== 0 && leaseMs < leastLeaseMs)
      this.#at(fields, 'lease', 'must be 5s or more, or 0s')
    this.#warnOfRareSnapshots(retention, snapshotIntervalMs)
    const age = this.#age(fields)
    const maxLagMs = this.#positive(fields, 'max-lag', defaultMaxLagMs)
    const heartbeat = this.#heartbeat(fields)
    const validationIntervalMs = this.#validationInterval(fields, age)
    if (target === undefined || name === undefined) return undefined
    return {
      name,
      target,
      age,
      syncIntervalMs,
      snapshotIntervalMs: snapshotIntervalMs > 0 ? snapshotIntervalMs : undefined,
      retention,
      retentionCheckIntervalMs: Math.min(checkIntervalMs, retention?.retentionMs ?? Infinity),
      maxLagMs,
      heartbeat,
      validationIntervalMs,
      leaseMs: leaseMs > 0 ? leaseMs : undefined,
    }
  }

  #validationInterval(fields: Fields, age: AgeKeys | undefined): number | undefined {
    const intervalMs = this.#interval(fields, 'validation-interval') ?? 0
    if (intervalMs <= 0) return undefined
    if (age !== undefined && age.recipients.length > 0 && age.identities.length === 0) {
      this.#at(
        fields,
        'validation-interval',
        'needs age.identities: without them nothing is restored',
      )
    }
    return intervalMs
  }

  /** `none`, or as the original has it a duration that is not above 0: nothing is ever deleted. */
  #retention(fields: Fields): RetentionRules | undefined {
    const none = this.#scalar(fields, 'retention')?.value === 'none'
    const durationMs = none ? 0 : (this.#duration(fields, 'retention') ?? defaultRetentionMs)
    const keep = {
      hourly: this.#count(fields, 'keep-hourly'),
      daily: this.#count(fields, 'keep-daily'),
      weekly: this.#count(fields, 'keep-weekly'),
      monthly: this.#count(fields, 'keep-monthly'),
    }
    return durationMs > 0 ? { retentionMs: durationMs, keep } : undefined
  }

  #warnOfRareSnapshots(retention: RetentionRules | undefined, snapshotIntervalMs: number): void {
    if (retention === undefined) return
    const everyMs = Math.min(retention.retentionMs, snapshotIntervalMs || Infinity)
    for (const [rule, periodMs] of [
      ['hourly', 3_600_000],
      ['daily', 86_400_000],
    ] as const) {
      if (retention.keep[rule] > 0 && everyMs > periodMs) {
        this.#warnings.add(
          `keep-${rule} keeps snapshots that exist, and they are taken less often: shorten snapshot-interval`,
        )
      }
    }
  }

  #count(fields: Fields, key: string): number {
    const count = this.#integer(fields, key) ?? 0
    if (count < 0) this.#at(fields, key, 'must not be below 0')
    return count
  }

  #target(fields: Fields): ReplicaTarget | undefined {
    const url = this.#url(fields)
    if (url === 'wrong') return undefined
    const place = url?.place ?? this.#place(fields)
    if (place === undefined) return undefined
    if (place.type === 's3') this.#sawS3 = true
    for (const [key, entry] of fields.entries) {
      if (keys.replica[key]?.stores?.includes(place.type) === false) {
        const path = keyPathOf(fields.path, key)
        this.#problems.add(entry.keyNode, path, `means nothing to a replica of type ${place.type}`)
      }
    }
    const query = querySettings(url?.query ?? new Map(), (key, problem) => {
      this.#at(fields, 'url', `${key}: ${problem}`)
    })
    const settings = layerSettings(this.#settings(fields), query)
    return readTarget(place, settings, { env: this.#context.env, ...this.#globalCredentials })
  }

  /** The parts of the `url` key; undefined without one. */
  #url(fields: Fields): ReplicaUrl | 'wrong' | undefined {
    const text = this.#string(fields, 'url')
    if (text === undefined) return fields.entries.has('url') ? 'wrong' : undefined
    try {
      const url = splitReplicaUrl(text)
      const { type } = url.place
      const conflicts = (type === 'file' ? ['path'] : ['path', 'bucket']).filter((key) =>
        fields.entries.has(key),
      )
      for (const key of conflicts) {
        this.#at(fields, key, `cannot specify url & ${key} for ${type} replica`)
      }
      return conflicts.length === 0 ? url : 'wrong'
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      this.#at(fields, 'url', error.message)
      return 'wrong'
    }
  }

  /** Where a replica without URL is. */
  #place(fields: Fields): Place | undefined {
    const type = this.#string(fields, 'type') ?? 'file'
    const storeType = objectStoreTypes.find((known) => known === type)
    const path = this.#string(fields, 'path', storeType !== undefined)
    if (path !== undefined && /^\w+:\/\//.test(path)) {
      const text = `replica path cannot be a url, please use the 'url' field instead: ${withoutSecrets(path)}`
      this.#at(fields, 'path', text)
      return undefined
    }
    if (storeType !== undefined) {
      const bucket = this.#string(fields, 'bucket')
      if (bucket === undefined && fields.entries.has('bucket')) return undefined
      return { type: storeType, bucket: bucket ?? '', prefix: cleanPrefix(path ?? '') }
    }
    if (type !== 'file') {
      this.#at(fields, 'type', unknownType(type))
      return undefined
    }
    if (path === undefined) {
      const given = fields.entries.has('path')
      if (!given) this.#problems.add(fields.node, fields.path, 'file replica path required')
      return undefined
    }
    return { type: 'file', path: this.#expand(fields, 'path', path) }
  }

  #expand(fields: Fields, key: string, path: string): string {
    return this.#attempt(fields, key, () => expandPath(path, this.#context)) ?? path
  }

  #attempt<T>(fields: Fields, key: string, work: () => T): T | undefined {
    try {
      return work()
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      this.#at(fields, key, `${error.message}. ${error.hint ?? ''}`)
      return undefined
    }
  }

  #settings(fields: Fields): TargetSettings {
    return {
      has: (key) => fields.entries.has(key),
      string: (key) => this.#string(fields, key),
      boolean: (key) => this.#boolean(fields, key),
      integer: (key) => this.#integer(fields, key),
      size: (key) => this.#size(fields, key),
      problem: (key, problem) => {
        this.#at(fields, key, problem)
      },
    }
  }

  #age(replica: Fields): AgeKeys | undefined {
    const entry = replica.entries.get('age')
    if (entry === undefined) return undefined
    const path = keyPathOf(replica.path, 'age')
    const fields = this.#fields(entry.node ?? entry.keyNode, 'age', path)
    if (fields?.entries.size === 0) {
      this.#problems.add(entry.keyNode, path, 'needs recipients, identities or both')
    }
    const recipients = this.#ageKeys(fields, 'recipients', {
      pattern: /^age1[02-9ac-hj-np-z]{58}$/,
      problem: (line) => `malformed recipient at line ${line}`,
    })
    const identities = this.#ageKeys(fields, 'identities', {
      pattern: /^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$/,
      problem: (line) => `error at line ${line}: malformed secret key`,
    })
    return { recipients, identities: identities.map((text) => new Secret(text)) }
  }

  /** Texts of keys, one a line, with comments and empty lines between. The text of a key is in no message. */
  #ageKeys(
    fields: Fields | undefined,
    key: 'recipients' | 'identities',
    form: { readonly pattern: RegExp; readonly problem: (line: number) => string },
  ): string[] {
    const list = fields?.entries.get(key)?.node
    // What was meant to be encrypted would be stored plain.
    if (fields !== undefined && isSeq(list) && list.items.length === 0) {
      this.#at(fields, key, 'is empty')
    }
    return this.#list(fields, key).flatMap(({ node, path }) => {
      if (!isScalar(node) || typeof node.value !== 'string') {
        this.#problems.add(node, path, 'must be a text of keys, one a line')
        return []
      }
      const lines = node.value.split(/\r?\n/).map((line) => line.trim())
      const isKey = (line: string): boolean => line !== '' && !line.startsWith('#')
      const malformed = lines.findIndex((line) => isKey(line) && !form.pattern.test(line))
      if (malformed >= 0) this.#problems.add(node, path, form.problem(malformed + 1))
      if (!lines.some(isKey)) this.#problems.add(node, path, 'holds no key')
      return [node.value]
    })
  }

  #logging(global: Fields | undefined): LoggingConfig {
    const entry = global?.entries.get('logging')
    const fields = entry && this.#fields(entry.node ?? entry.keyNode, 'logging', 'logging')
    const level = this.#string(fields, 'level', true)?.toLowerCase() ?? 'info'
    const type = this.#string(fields, 'type', true) ?? 'text'
    const levels: Readonly<Record<string, LoggingConfig['level']>> = {
      '': 'info',
      debug: 'debug',
      info: 'info',
      warn: 'warn',
      warning: 'warn',
      error: 'error',
    }
    const knownLevel = Object.hasOwn(levels, level) ? levels[level] : undefined
    if (knownLevel === undefined && fields) {
      this.#at(fields, 'level', 'must be debug, info, warn or error')
    }
    if (type !== '' && type !== 'text' && type !== 'json' && fields) {
      this.#at(fields, 'type', 'must be text or json')
    }
    return {
      level: knownLevel ?? 'info',
      type: type === 'json' ? 'json' : 'text',
      stderr: this.#boolean(fields, 'stderr') ?? false,
    }
  }

  #heartbeat(fields: Fields): HeartbeatConfig | undefined {
    const text = this.#string(fields, 'heartbeat-url')
    const intervalMs = this.#positive(fields, 'heartbeat-interval', defaultHeartbeatMs)
    if (text === undefined) {
      if (fields.entries.has('heartbeat-interval')) {
        this.#at(fields, 'heartbeat-interval', 'means nothing without heartbeat-url')
      }
      return undefined
    }
    if (!/^https?:\/\//.test(text) || !URL.canParse(text)) {
      this.#at(fields, 'heartbeat-url', 'must be an http:// or https:// URL')
      return undefined
    }
    return { url: new Secret(text), intervalMs }
  }

  #address(global: Fields | undefined): ListenAddress | undefined {
    const text = this.#string(global, 'addr', true)
    if (text === undefined || text === '' || global === undefined) return undefined
    const address = parseAddress(text)
    if (typeof address === 'string') {
      this.#at(global, 'addr', address)
      return undefined
    }
    if (address.host !== '') return address
    this.#warnings.add(
      `addr "${text}" is this machine alone: write 127.0.0.1${text} if that is meant, or 0.0.0.0${text} for all its addresses`,
    )
    return { ...address, host: '127.0.0.1' }
  }

  #list(fields: Fields | undefined, key: string): { node: Node | null; path: string }[] {
    const entry = fields?.entries.get(key)
    if (fields === undefined || entry === undefined) return []
    const path = keyPathOf(fields.path, key)
    if (!isSeq(entry.node)) {
      this.#problems.add(entry.keyNode, path, isNull(entry.node) ? 'is empty' : 'must be a list')
      return []
    }
    const items = entry.node.items as (Node | null)[]
    return items.map((item, i) => {
      const itemPath = `${path}[${i}]`
      return { node: this.#resolve(item, itemPath) ?? entry.keyNode, path: itemPath }
    })
  }

  /** Adds a problem with the value of a key. */
  #at(fields: Fields, key: string, problem: string): void {
    const entry = fields.entries.get(key)
    this.#problems.add(
      entry?.node ?? entry?.keyNode ?? fields.node,
      keyPathOf(fields.path, key),
      problem,
    )
  }

  /** The scalar of a key with its source text; undefined when the key is absent or the value wrong. */
  #scalar(fields: Fields | undefined, key: string): { value: unknown; text: string } | undefined {
    const entry = fields?.entries.get(key)
    if (fields === undefined || entry === undefined) return undefined
    if (isNull(entry.node)) {
      this.#at(fields, key, 'is empty')
      return undefined
    }
    if (!isScalar(entry.node)) {
      this.#at(fields, key, 'must be a single value')
      return undefined
    }
    const { value, source } = entry.node
    return { value, text: source ?? String(value) }
  }

  #string(fields: Fields | undefined, key: string, emptyAllowed = false): string | undefined {
    const scalar = this.#scalar(fields, key)
    if (scalar === undefined || fields === undefined) return undefined
    const text = typeof scalar.value === 'string' ? scalar.value : scalar.text
    if (text !== '' || emptyAllowed) return text
    this.#at(fields, key, 'is empty')
    return undefined
  }

  #duration(fields: Fields | undefined, key: string): number | undefined {
    const scalar = this.#scalar(fields, key)
    if (scalar === undefined || fields === undefined) return undefined
    // A bare integer is nanoseconds to the original, which nobody means.
    const durationMs =
      typeof scalar.value === 'string'
        ? parseDuration(scalar.value)
        : scalar.value === 0
          ? 0
          : undefined
    if (durationMs === undefined) {
      const text = `not a duration: ${scalar.text} (write for example 500ms, 30s, 5m or 24h)`
      this.#at(fields, key, text)
    }
    return durationMs
  }

  /** One that may be 0, which is off. */
  #interval(fields: Fields, key: string): number | undefined {
    const durationMs = this.#duration(fields, key)
    if (durationMs !== undefined && durationMs < 0) {
      this.#at(fields, key, 'must not be below 0 (0 is off)')
    }
    return durationMs
  }

  #positive(fields: Fields | undefined, key: string, defaultMs: number): number {
    const durationMs = this.#duration(fields, key) ?? defaultMs
    if (durationMs <= 0 && fields) this.#at(fields, key, 'must be above 0')
    return durationMs
  }

  #integer(fields: Fields, key: string): number | undefined {
    const scalar = this.#scalar(fields, key)
    if (scalar === undefined) return undefined
    if (typeof scalar.value === 'number' && Number.isSafeInteger(scalar.value)) return scalar.value
    this.#at(fields, key, `not a whole number: ${scalar.text}`)
    return undefined
  }

  #boolean(fields: Fields | undefined, key: string): boolean | undefined {
    const scalar = this.#scalar(fields, key)
    if (scalar === undefined || fields === undefined) return undefined
    if (typeof scalar.value === 'boolean') return scalar.value
    this.#at(fields, key, `neither true nor false: ${scalar.text}`)
    return undefined
  }

  #size(fields: Fields, key: string): number | undefined {
    const scalar = this.#scalar(fields, key)
    if (scalar === undefined) return undefined
    const bytes = parseSize(scalar.text)
    if (bytes !== undefined && bytes > 0) return bytes
    this.#at(fields, key, `not a size: ${scalar.text} (write for example 500MB or 4GiB)`)
    return undefined
  }
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

const defaultTimeoutMs = 30_000
/** Below, a moment of silence would be taken for death. */
const leastLeaseMs = 5000
const defaultRetentionMs = 24 * 3_600_000
const defaultHeartbeatMs = 5 * 60_000
const defaultMaxLagMs = 5 * 60_000
const defaultMaxSpoolBytes = 4 * 1024 ** 3

/** Beside the file itself: whatever link leads to it, it has one writer. */
function defaultMetaPath(databasePath: string): string {
  const file = followLinks(databasePath)
  return join(dirname(file), `.${basename(file)}-tsreplicate`)
}

function linkTargetOf(path: string): Pick<DatabaseConfig, 'linkTarget'> {
  const linkTarget = followLinks(path)
  return linkTarget === path ? {} : { linkTarget }
}

/** What is wrong with a replica in a place that its own database needs; undefined: nothing. */
function placeProblem(
  { name, target }: ReplicaConfig,
  { path, metaPath }: Pick<DatabaseConfig, 'path' | 'metaPath'>,
): string | undefined {
  if (target.type !== 'file') return undefined
  const liesIn = (place: string): boolean => `${target.path}/`.startsWith(`${place}/`)
  if (liesIn(path)) return `replica "${name}" would lie at the database file: ${target.path}`
  if (liesIn(metaPath)) return `replica "${name}" would lie in the meta-path: ${target.path}`
  return undefined
}

/** The configuration of `replicate DB URL…`: defaults everywhere, every URL a replica. */
export function configFromUrls(
  databasePath: string,
  urls: readonly string[],
  context: ConfigContext,
): Config {
  const parsed = parseDatabasePath(databasePath, context)
  if (parsed.kind === 'problem') throw new ConfigError(`the database ${parsed.problem}`)
  const { path } = parsed
  const metaPath = defaultMetaPath(path)
  const places = new Set<string>()
  const replicas = urls.map((url, i): ReplicaConfig => {
    const target = parseReplicaUrl(url, context.env)
    const place = describePlace(target)
    if (places.has(place)) throw new ConfigError(`two replicas in one place: ${place}`)
    places.add(place)
    return {
      name: i === 0 ? target.type : `${target.type}-${i + 1}`,
      target,
      age: undefined,
      syncIntervalMs: 1000,
      snapshotIntervalMs: undefined,
      retention: {
        retentionMs: defaultRetentionMs,
        keep: { hourly: 0, daily: 0, weekly: 0, monthly: 0 },
      },
      retentionCheckIntervalMs: 3_600_000,
      maxLagMs: defaultMaxLagMs,
      heartbeat: undefined,
      validationIntervalMs: undefined,
      leaseMs: undefined,
    }
  })
  for (const replica of replicas) {
    const problem = placeProblem(replica, { path, metaPath })
    if (problem !== undefined) throw new ConfigError(problem)
  }
  return {
    source: undefined,
    folders: [],
    databases: [
      {
        path,
        ...linkTargetOf(path),
        metaPath,
        monitorIntervalMs: 1000,
        checkpointIntervalMs: 60_000,
        minCheckpointPageCount: 1000,
        maxCheckpointPageCount: 10_000,
        maxSpoolBytes: defaultMaxSpoolBytes,
        allowNetworkFileSystem: false,
        validationPath: undefined,
        restoreIfDbNotExists: false,
        heartbeat: undefined,
        replicas,
      },
    ],
    logging: { level: 'info', type: 'text', stderr: true },
    addr: undefined,
    shutdownTimeoutMs: defaultTimeoutMs,
    exec: undefined,
    firstSyncTimeoutMs: defaultTimeoutMs,
    warnings: [],
  }
}
