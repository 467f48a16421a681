/** What the package exports is a promise: a name that comes or goes is a decision, and shows here. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import * as library from '../../src/index.js'

const values = [
  'AmbiguousBackupError',
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
  'comparePositions',
  'configFromUrls',
  'createLogger',
  'formatPosition',
  'formatWalPosition',
  'isAbortError',
  'isGeneration',
  'listGenerations',
  'listSnapshots',
  'listWalSegments',
  'loadConfig',
  'openReplicaClient',
  'parseGeneration',
  'parseReplicaUrl',
  'replicate',
  'restore',
  'verify',
]

const types = [
  'ByteRange',
  'Config',
  'DaemonStatus',
  'DatabaseConfig',
  'FileReplicaTarget',
  'Finding',
  'Generation',
  'GenerationInfo',
  'LoadOptions',
  'LogFields',
  'Logger',
  'LoggingConfig',
  'NotStored',
  'ObjectRef',
  'ObjectUpload',
  'Position',
  'ReplicaClient',
  'ReplicaConfig',
  'ReplicaTarget',
  'ReplicateOptions',
  'RestoreOptions',
  'RestoreProgress',
  'RestoreReport',
  'RestoreSource',
  'RestoreTarget',
  'RunningReplication',
  'SnapshotInfo',
  'SnapshotRef',
  'Stored',
  'StoredOptions',
  'UploadOptions',
  'UrlRestoreOptions',
  'VerifiedGeneration',
  'VerifyOptions',
  'WalPosition',
  'WalSegmentInfo',
  'WalSegmentRef',
]

test('the public values are these', () => {
  expect(Object.keys(library).sort()).toEqual(values)
})

test('the public types are these', () => {
  const source = readFileSync(join(import.meta.dirname, '../../src/index.ts'), 'utf8')
  const named = [...source.matchAll(/\btype (\w+)/g)].map(([, name]) => name)
  expect(named.sort()).toEqual(types)
  // Nothing comes in by a star.
  expect(source).not.toMatch(/^export \*/m)
})
