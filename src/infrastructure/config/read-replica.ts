/** Reads the entry of a replica, and the settings that replicas share with nobody. */
import { isScalar } from 'yaml'
import {
  type AgeKeys,
  type ReplicaConfig,
  type ReplicaTarget,
} from '../../domain/settings/config.js'
import { type RetentionRules } from '../../domain/policy/retention-policy.js'
import { Secret } from '../../domain/settings/secret.js'
import { infoOf, type KeyOf, objectStoreTypes, type StoreType } from './keys.js'
import { attempt } from './attempt.js'
import { expandPath } from './paths.js'
import { type ReadContext } from './read-context.js'
import { readHeartbeat } from './read-heartbeat.js'
import { type StoreAddress, readTarget } from './replica-target.js'
import {
  cleanPrefix,
  type ReplicaUrl,
  splitReplicaUrl,
  unknownType,
  withoutSecrets,
} from './replica-url.js'
import { layerSettings, type Settings, textSettings } from './settings.js'
import { type YamlSection } from './yaml-section.js'

type ReplicaSection = YamlSection<'replica'>

/** A replica; undefined where what is wrong with it, which is reported, leaves no place or name. */
export function readReplica(
  section: ReplicaSection,
  context: ReadContext,
): ReplicaConfig | undefined {
  const target = readReplicaTarget(section, context)
  const name = section.value('name') ?? target?.type
  const settings = readReplicaSettings(section)
  const age = readAge(section)
  warnOfRareSnapshots(settings, context)
  if (
    settings.validationIntervalMs !== undefined &&
    age !== undefined &&
    age.recipients.length > 0 &&
    age.identities.length === 0
  ) {
    section.problem(
      'validation-interval',
      'needs age.identities: without them nothing can be restored',
    )
  }
  if (target === undefined || name === undefined) return undefined
  return { name, target, age, ...settings }
}

/** What of a replica is neither its place nor its keys of age. */
export function readReplicaSettings(
  settings: Settings<'replica'>,
): Omit<ReplicaConfig, 'name' | 'target' | 'age'> {
  const retentionMs = settings.value('retention')
  const keep = {
    hourly: settings.value('keep-hourly'),
    daily: settings.value('keep-daily'),
    weekly: settings.value('keep-weekly'),
    monthly: settings.value('keep-monthly'),
  }
  return {
    syncIntervalMs: settings.value('sync-interval'),
    urgentSyncIntervalMs: settings.value('urgent-sync-interval'),
    snapshotIntervalMs: settings.value('snapshot-interval'),
    retention: retentionMs === undefined ? undefined : { retentionMs, keep },
    retentionCheckIntervalMs: Math.min(
      settings.value('retention-check-interval'),
      retentionMs ?? Infinity,
    ),
    maxLagMs: settings.value('max-lag'),
    heartbeat: readHeartbeat(
      {
        url: settings.value('heartbeat-url'),
        intervalMs: settings.value('heartbeat-interval'),
      },
      settings,
    ),
    validationIntervalMs: settings.value('validation-interval'),
    leaseMs: settings.value('lease'),
  }
}

function warnOfRareSnapshots(
  { retention, snapshotIntervalMs }: Pick<ReplicaConfig, 'retention' | 'snapshotIntervalMs'>,
  { warnings }: ReadContext,
): void {
  if (retention === undefined) return
  const everyMs = Math.min(retention.retentionMs, snapshotIntervalMs ?? Infinity)
  const rules: readonly [keyof RetentionRules['keep'], number][] = [
    ['hourly', 3_600_000],
    ['daily', 86_400_000],
  ]
  for (const [rule, periodMs] of rules) {
    if (retention.keep[rule] > 0 && everyMs > periodMs) {
      warnings.add(
        `keep-${rule} can keep only snapshots that exist, and they are taken less often: shorten snapshot-interval`,
      )
    }
  }
}

function readReplicaTarget(
  section: ReplicaSection,
  context: ReadContext,
): ReplicaTarget | undefined {
  const url = readUrl(section)
  if (url === 'wrong') return undefined
  const place = url?.place ?? readPlace(section, context)
  if (place === undefined) return undefined
  for (const key of section.keys) {
    if (infoOf('replica', key).stores?.includes(place.type) === false) {
      section.problem(key, foreignKey(key, place.type))
    }
  }
  const query = textSettings('replica', url?.query ?? new Map(), (key, problem) =>
    section.problem('url', `${key}: ${problem}`),
  )
  return readTarget(place, layerSettings(section, query), context)
}

function foreignKey(key: KeyOf<'replica'>, type: StoreType): string {
  const stores = infoOf('replica', key).stores ?? []
  return `has no effect on a replica of type ${type}: it is for ${stores.join(', ')}`
}

/** The parts of the `url` key; undefined without one. */
function readUrl(section: ReplicaSection): ReplicaUrl | 'wrong' | undefined {
  const text = section.value('url')
  if (text === undefined) return section.has('url') ? 'wrong' : undefined
  const url = attempt(section, 'url', () => splitReplicaUrl(text))
  if (url === undefined) return 'wrong'
  const { type } = url.place
  const conflicts = (['path', 'bucket'] as const).filter(
    (key) => section.has(key) && !(type === 'file' && key === 'bucket'),
  )
  for (const key of conflicts)
    section.problem(key, `cannot specify url & ${key} for ${type} replica: the url has it already`)
  return conflicts.length === 0 ? url : 'wrong'
}

function readPlace(section: ReplicaSection, context: ReadContext): StoreAddress | undefined {
  const type = section.value('type')
  const path = section.value('path')
  if (path !== undefined && /^\w+:\/\//.test(path)) {
    const text = `replica path cannot be a url, please use the 'url' field instead: ${withoutSecrets(path)}`
    section.problem('path', text)
    return undefined
  }
  const storeType = objectStoreTypes.find((known) => known === type)
  if (storeType !== undefined) {
    const bucket = section.value('bucket')
    if (bucket === undefined && section.has('bucket')) return undefined
    return { type: storeType, bucket: bucket ?? '', prefix: cleanPrefix(path ?? '') }
  }
  if (type !== 'file') {
    section.problem('type', unknownType(type))
    return undefined
  }
  if (path === undefined) {
    if (!section.has('path'))
      section.problem(
        undefined,
        'file replica path required (path: FOLDER, or url for another store)',
      )
    return undefined
  }
  if (path === '') {
    section.problem('path', 'is empty: give it a value, or remove it')
    return undefined
  }
  return {
    type: 'file',
    path: attempt(section, 'path', () => expandPath(path, context)) ?? path,
  }
}

function readAge(replica: ReplicaSection): AgeKeys | undefined {
  if (!replica.has('age')) return undefined
  const section = replica.section('age', 'age')
  if (section?.keys.length === 0) {
    section.problem(undefined, 'needs recipients, identities or both')
  }
  const recipients = readAgeKeys(section, 'recipients', {
    pattern: /^age1[02-9ac-hj-np-z]{58}$/,
    problem: (line) => `malformed recipient at line ${line} (a public key begins with age1)`,
  })
  const identities = readAgeKeys(section, 'identities', {
    pattern: /^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$/,
    problem: (line) =>
      `error at line ${line}: malformed secret key (one begins with AGE-SECRET-KEY-1)`,
  })
  return { recipients, identities: identities.map((text) => new Secret(text)) }
}

/** Texts of keys, one a line, with comments and empty lines between. The text of a key is in no message. */
function readAgeKeys(
  section: YamlSection<'age'> | undefined,
  key: 'recipients' | 'identities',
  form: { readonly pattern: RegExp; readonly problem: (line: number) => string },
): string[] {
  if (section?.has(key) !== true) return []
  const items = section.items(key)
  // What was meant to be encrypted would be stored plain.
  if (items?.length === 0) section.problem(key, 'is empty: list a key, or remove it')
  return (items ?? []).flatMap((item) => {
    if (!isScalar(item.node) || typeof item.node.value !== 'string') {
      section.itemProblem(item, 'must be text with one key per line')
      return []
    }
    const text = item.node.value
    const lines = text.split(/\r?\n/).map((line) => line.trim())
    const isKey = (line: string): boolean => line !== '' && !line.startsWith('#')
    const malformed = lines.findIndex((line) => isKey(line) && !form.pattern.test(line))
    if (malformed >= 0) section.itemProblem(item, form.problem(malformed + 1))
    if (!lines.some(isKey)) section.itemProblem(item, 'holds no key')
    return [text]
  })
}
