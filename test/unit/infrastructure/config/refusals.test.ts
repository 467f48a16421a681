/** What is said of each mistake in a configuration: where it is, what was given, and what is wanted. */
import { describe, expect, test } from 'vitest'
import { ConfigError } from '../../../../src/domain/errors.ts'
import { parseConfig } from '../../../../src/infrastructure/config/config-file.ts'

function refusalOf(text: string): string {
  try {
    parseConfig(text, 'c.yml', { home: undefined, cwd: '/', env: {} })
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  return 'none'
}

describe('in a file', () => {
  const whole = (text: string): string => text

  test.each([
    ['dbs: x', 'c.yml:1: dbs: must be a list, each item after "-", not a single value'],
    ['dbs:', 'c.yml:1: dbs: is empty: give it a value, or remove it'],
    ['dbs: {path: /a}', 'c.yml:1: dbs: must be a list, each item after "-", not keys with values'],
    ['dbs: [/a.db]', 'c.yml:1: dbs[0]: must be "key: value" lines, not a single value'],
    ['dbs: [null]', 'c.yml:1: dbs[0]: is empty: give it a value, or remove it'],
    [
      'dbs: [{}]',
      'c.yml:1: dbs[0].path: database path required (or dir, for all databases of a folder)',
    ],
    ['exec: [a]', 'c.yml:1: exec: must be a single value, not a list'],
    ['exec:', 'c.yml:1: exec: is empty: give it a value, or remove it'],
    ['exec: ""', 'c.yml:1: exec: is empty: give it a value, or remove it'],
    ['dbz: 1', 'c.yml:1: dbz: unknown key, did you mean dbs?'],
    ['level: debug', 'c.yml:1: level: unknown key here, it belongs to logging'],
    [
      'zzz: 1',
      'c.yml:1: zzz: unknown key (known here: dbs, addr, socket, exec, first-sync-timeout, shutdown-timeout, state-path, logging, access-key-id, secret-access-key)',
    ],
    ['logging: debug', 'c.yml:1: logging: must be "key: value" lines, not a single value'],
    [
      'logging: {colour: red}',
      'c.yml:1: logging.colour: unknown key (known here: level, type, stderr)',
    ],
    [
      'logging: {level: loud}',
      'c.yml:1: logging.level: must be debug, info, warn or error, not loud',
    ],
    ['logging: {stderr: maybe}', 'c.yml:1: logging.stderr: neither true nor false: maybe'],
    ['exec: a\nexec: b', 'c.yml:2: exec: is given twice, first on line 1'],
    [
      'dbs: [*none]',
      'c.yml:1: dbs[0]: there is no anchor of this name (a value that begins with * needs quotes)',
    ],
    ['dbs:\n  - {<<: 5, path: /a}', 'c.yml:2: dbs[0].<<: must be a mapping or a list of mappings'],
    [
      'addr: foo',
      'c.yml:1: addr: must specify port for bind address: "foo" (write for example 127.0.0.1:9090)',
    ],
    [
      'addr: "a:http"',
      'c.yml:1: addr: not a port in bind address: "a:http" (write for example 127.0.0.1:9090)',
    ],
    [
      'addr: "::1:90"',
      'c.yml:1: addr: too many colons in bind address: "::1:90" (write an IPv6 address as [::1]:9090)',
    ],
    ['shutdown-timeout: 0s', 'c.yml:1: shutdown-timeout: must be above 0, not 0s'],
    [
      'shutdown-timeout: 30',
      'c.yml:1: shutdown-timeout: not a duration: 30 (the unit is missing: write for example 30s, 30m or 30h)',
    ],
    [
      'shutdown-timeout: 1d',
      'c.yml:1: shutdown-timeout: not a duration: 1d (there is no unit for days: write 24h)',
    ],
    [
      'shutdown-timeout: soon',
      'c.yml:1: shutdown-timeout: not a duration: soon (write for example 500ms, 30s, 5m or 24h)',
    ],
    [
      'exec: app "a',
      'c.yml:1: exec: cannot parse exec command: invalid command line string. A quote, bracket or backslash is left open.',
    ],
    [
      'exec: a && b',
      "c.yml:1: exec: cannot parse exec command: unquoted &. There is no shell: quote the character, or write sh -c '…' around the command.",
    ],
    [
      'dbs: [',
      'c.yml:1: Flow sequence in block collection must be sufficiently indented and end with a ] (the lines of a list, and those of a mapping, begin in the same column)',
    ],
    [
      'a: b: c',
      'c.yml:1: Nested mappings are not allowed in compact mappings (a value with ": " in it needs quotes)',
    ],
    ['\tdbs:', 'c.yml:1: Tabs are not allowed as indentation (use spaces)'],
    [
      'dbs: []\n---\ndbs: []',
      'c.yml:2: Source contains multiple documents (a configuration is one document: remove the second ---)',
    ],
    ['dbs\n', 'c.yml:1: must be "key: value" lines, not a single value'],
    [
      'dbs: []\nx',
      'c.yml:2: Implicit map keys need to be followed by map values (a colon, quote or bracket is missing)',
    ],
    [
      'dbs:\n  - path: ~/a.db',
      'c.yml:2: dbs[0].path: there is no home directory for ~: ~/a.db. The system does not know this user, and HOME is not set: write an absolute path.',
    ],
    [
      'dbs:\n  - path: file:a.db?mode=ro',
      'c.yml:2: dbs[0].path: is a connection string: write the plain path of the file, a.db',
    ],
    [
      'dbs: [{dir: /d/*.db, replicas: [{path: /r}]}]',
      'c.yml:1: dbs[0].dir: is one folder, not a pattern: /d/*.db. Write the part without * as dir, and the rest as pattern',
    ],
    ['dbs: [{dir: /d, path: /a}]', 'c.yml:1: dbs[0].path: has no effect together with dir'],
    ['dbs: [{path: /a, watch: true}]', 'c.yml:1: dbs[0].watch: has no effect without dir'],
    ['dbs: [{dir: /d, pattern: "["}]', 'c.yml:1: dbs[0].pattern: not a pattern: ['],
    [
      'dbs: [{path: /a}, {path: /b/../a}]',
      'c.yml:1: dbs[1].path: duplicate database path: /a is also in dbs[0]',
    ],
    ['dbs: [{dir: /a}, {dir: /a/}]', 'c.yml:1: dbs[1].dir: given twice: /a is also in dbs[0]'],
    [
      'dbs: [{path: /a, meta-path: /m}, {path: /b, meta-path: /m}]',
      'c.yml:1: dbs[1].meta-path: used twice: /m is also that of /a',
    ],
    [
      'dbs: [{dir: /d, replicas: [{path: /d}]}]',
      'c.yml:1: dbs[0].replicas: replica "file" would be in the folder of the databases: /d',
    ],
  ])('%j', (text, refusal) => {
    expect(refusalOf(whole(text))).toBe(refusal)
  })
})

describe('in a database, line 3', () => {
  const whole = (line: string): string => `dbs:\n  - path: /a.db\n    ${line}\n`

  test.each([
    [
      'retention: 72h',
      'c.yml:3: dbs[0].retention: unknown key here, it belongs to dbs[].replicas[]',
    ],
    ['replica: []', 'c.yml:3: dbs[0].replica: unknown key, did you mean replicas?'],
    [
      'replicas: {path: /r}',
      'c.yml:3: dbs[0].replicas: must be a list, each item after "-", not keys with values',
    ],
    ['monitor-interval: 0s', 'c.yml:3: dbs[0].monitor-interval: must be above 0, not 0s'],
    ['checkpoint-interval: -1s', 'c.yml:3: dbs[0].checkpoint-interval: must not be negative: -1s'],
    [
      'min-checkpoint-page-count: 0',
      'c.yml:3: dbs[0].min-checkpoint-page-count: must be above 0, not 0',
    ],
    [
      'max-checkpoint-page-count: -1',
      'c.yml:3: dbs[0].max-checkpoint-page-count: must not be negative: -1',
    ],
    [
      'min-checkpoint-page-count: 1.5',
      'c.yml:3: dbs[0].min-checkpoint-page-count: not a whole number: 1.5',
    ],
    [
      'max-spool-size: 4 apples',
      'c.yml:3: dbs[0].max-spool-size: not a size: 4 apples (write for example 500MB or 4GiB)',
    ],
    [
      'max-spool-size: 4G',
      'c.yml:3: dbs[0].max-spool-size: not a size: 4G (write for example 500MB or 4GiB)',
    ],
    [
      'heartbeat-interval: 1m',
      'c.yml:3: dbs[0].heartbeat-interval: has no effect without heartbeat-url',
    ],
    ['heartbeat-url: ftp://x', 'c.yml:3: dbs[0].heartbeat-url: must be an http:// or https:// URL'],
    [
      'replicas: [{path: /a.db}]',
      'c.yml:3: dbs[0].replicas: replica "file" would be the database file: /a.db',
    ],
    [
      'replicas: [{path: /.a.db-tsreplicate/r}]',
      'c.yml:3: dbs[0].replicas: replica "file" would be inside meta-path: /.a.db-tsreplicate/r',
    ],
    [
      'replicas: [{name: x}]',
      'c.yml:3: dbs[0].replicas[0]: file replica path required (path: FOLDER, or url for another store)',
    ],
    [
      'replicas: [{type: s3}]',
      'c.yml:3: dbs[0].replicas[0].bucket: bucket required for s3 replica',
    ],
    [
      'replicas: [{type: abs, bucket: c}]',
      'c.yml:3: dbs[0].replicas[0].account-name: account-name required for abs replica (or abs://ACCOUNT@CONTAINER/PATH as url)',
    ],
    [
      'replicas: [{type: azure, path: x}]',
      'c.yml:3: dbs[0].replicas[0].type: unknown replica type in config: "azure" (file, s3, gcs and abs are known)',
    ],
    [
      'replicas: [{type: sftp, path: a}]',
      'c.yml:3: dbs[0].replicas[0].type: sftp replicas are not supported: use a folder, s3, gcs or abs',
    ],
    [
      'replicas: [{url: /x}]',
      'c.yml:3: dbs[0].replicas[0].url: replica url scheme required: /x. Write a folder as file:///absolute/path.',
    ],
    [
      'replicas: [{url: "http://x"}]',
      'c.yml:3: dbs[0].replicas[0].url: unknown replica type in config: "http" (file, s3, gcs and abs are known)',
    ],
    [
      'replicas: [{url: ""}]',
      'c.yml:3: dbs[0].replicas[0].url: is empty: give it a value, or remove it',
    ],
    [
      'replicas: [{path: ""}]',
      'c.yml:3: dbs[0].replicas[0].path: is empty: give it a value, or remove it',
    ],
    [
      'replicas: [{path: "s3://b/p"}]',
      "c.yml:3: dbs[0].replicas[0].path: replica path cannot be a url, please use the 'url' field instead: s3://b/p",
    ],
    [
      'replicas: [{path: /x}, {path: /y}]',
      'c.yml:3: dbs[0].replicas[1].name: duplicate replica name: "file" (give one of them another name)',
    ],
    [
      'replicas: [{path: /x}, {path: /x/, name: b}]',
      'c.yml:3: dbs[0].replicas[1]: /x is already used by dbs[0].replicas[0]',
    ],
    [
      'replicas: [{url: "s3://b", bucket: b}]',
      'c.yml:3: dbs[0].replicas[0].bucket: cannot specify url & bucket for s3 replica: the url has it already',
    ],
    [
      'replicas: [{url: "s3://b?regoin=x"}]',
      'c.yml:3: dbs[0].replicas[0].url: unknown setting regoin in the url of a replica of type s3, did you mean region?',
    ],
    [
      'replicas: [{url: "s3://b?secret-access-key=hunter2"}]',
      'c.yml:3: dbs[0].replicas[0].url: secret-access-key does not belong in a url, where others see it: write it into a configuration file, or use an environment variable',
    ],
    [
      'replicas: [{url: "s3://b?region="}]',
      'c.yml:3: dbs[0].replicas[0].url: region: is empty: give it a value, or remove it',
    ],
    [
      'replicas: [{url: "s3://b?skip-verify=yes"}]',
      'c.yml:3: dbs[0].replicas[0].url: skip-verify: neither true nor false: yes',
    ],
    [
      'replicas: [{url: "s3://minio:9000/b"}]',
      'c.yml:3: dbs[0].replicas[0].url: s3://minio:9000 names a server, but a bucket is needed: write s3://BUCKET/PATH?endpoint=minio:9000',
    ],
    [
      'replicas: [{url: "s3://b/%zz"}]',
      'c.yml:3: dbs[0].replicas[0].url: s3://b/%zz: a % in a url must be followed by two hexadecimal digits (%25 is % itself)',
    ],
    [
      'replicas: [{url: "s3://b?region=a&region=b"}]',
      'c.yml:3: dbs[0].replicas[0].url: region is given twice in the url',
    ],
    [
      'replicas: [{url: "gcs://b?part-size=300KiB"}]',
      'c.yml:3: dbs[0].replicas[0].url: part-size: must be a multiple of 256KiB, at most 1GiB, for gcs',
    ],
    [
      'replicas: [{url: "gcs://b?foo=1"}]',
      'c.yml:3: dbs[0].replicas[0].url: unknown setting foo in the url of a replica of type gcs: endpoint, part-size, storage-class, ca-file, skip-verify are known',
    ],
    [
      'replicas: [{url: "abs://c/p"}]',
      'c.yml:3: dbs[0].replicas[0].account-name: account-name required for abs replica (or abs://ACCOUNT@CONTAINER/PATH as url)',
    ],
    [
      'replicas: [{url: "s3://localhost:9000/b"}]',
      'c.yml:3: dbs[0].replicas[0].bucket: bucket required for s3 replica',
    ],
    [
      'replicas: [{url: "file:///"}]',
      'c.yml:3: dbs[0].replicas[0].url: file replica path required',
    ],
  ])('%j', (text, refusal) => {
    expect(refusalOf(whole(text))).toBe(refusal)
  })
})

describe('in a replica in a folder, line 5', () => {
  const whole = (line: string): string =>
    `dbs:\n  - path: /a.db\n    replicas:\n      - path: /r\n        ${line}\n`

  test.each([
    [
      'sync_interval: 5s',
      'c.yml:5: dbs[0].replicas[0].sync_interval: unknown key, did you mean sync-interval?',
    ],
    [
      'bucket: b',
      'c.yml:5: dbs[0].replicas[0].bucket: has no effect on a replica of type file: it is for s3, gcs, abs',
    ],
    ['lease: 1s', 'c.yml:5: dbs[0].replicas[0].lease: must be 5s or more, or 0, not 1s'],
    ['keep-daily: -1', 'c.yml:5: dbs[0].replicas[0].keep-daily: must not be negative: -1'],
    ['keep-daily: many', 'c.yml:5: dbs[0].replicas[0].keep-daily: not a whole number: many'],
    [
      'retention: never',
      'c.yml:5: dbs[0].replicas[0].retention: not a duration: never (write for example 72h, or none)',
    ],
    ['age: {}', 'c.yml:5: dbs[0].replicas[0].age: needs recipients, identities or both'],
    [
      'age: {recipients: []}',
      'c.yml:5: dbs[0].replicas[0].age.recipients: is empty: list a key, or remove it',
    ],
    [
      'age: {recipients: [x]}',
      'c.yml:5: dbs[0].replicas[0].age.recipients[0]: malformed recipient at line 1 (a public key begins with age1)',
    ],
    [
      'age: {identities: [AGE-SECRET-KEY-1X]}',
      'c.yml:5: dbs[0].replicas[0].age.identities[0]: error at line 1: malformed secret key (one begins with AGE-SECRET-KEY-1)',
    ],
    [
      'age: {recipients: age1x}',
      'c.yml:5: dbs[0].replicas[0].age.recipients: must be a list, each item after "-", not a single value',
    ],
    [
      'age: {recipients: [{}]}',
      'c.yml:5: dbs[0].replicas[0].age.recipients[0]: must be text with one key per line',
    ],
    ['age: {recipients: ["# no"]}', 'c.yml:5: dbs[0].replicas[0].age.recipients[0]: holds no key'],
    [
      'host: h',
      'c.yml:5: dbs[0].replicas[0].host: not supported by this version: it belongs to replicas of type sftp',
    ],
    [
      'validation-interval: 1h\n        age: {recipients: [age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq]}',
      'c.yml:5: dbs[0].replicas[0].validation-interval: needs age.identities: without them nothing can be restored',
    ],
  ])('%j', (text, refusal) => {
    expect(refusalOf(whole(text))).toBe(refusal)
  })
})

describe('in a replica in a bucket, line 5', () => {
  const whole = (line: string): string =>
    `dbs:\n  - path: /a.db\n    replicas:\n      - url: s3://b/p\n        ${line}\n`

  test.each([
    [
      'account-name: a',
      'c.yml:5: dbs[0].replicas[0].account-name: has no effect on a replica of type s3: it is for abs',
    ],
    ['part-size: 1MiB', 'c.yml:5: dbs[0].replicas[0].part-size: must be from 5MiB to 5GiB for s3'],
    ['concurrency: 0', 'c.yml:5: dbs[0].replicas[0].concurrency: must be above 0, not 0'],
    [
      'access-key-id: A',
      'c.yml:5: dbs[0].replicas[0].access-key-id: has no effect without secret-access-key',
    ],
    [
      'session-token: t',
      'c.yml:5: dbs[0].replicas[0].session-token: has no effect without access-key-id and secret-access-key',
    ],
    ['sse: aes', 'c.yml:5: dbs[0].replicas[0].sse: must be kms, not aes'],
    [
      'sse-customer-key: short',
      'c.yml:5: dbs[0].replicas[0].sse-customer-key: must be 32 bytes in base64',
    ],
    [
      'skip-verify: "true"',
      'c.yml:5: dbs[0].replicas[0].skip-verify: must be without quotes: true',
    ],
    [
      'path: p',
      'c.yml:5: dbs[0].replicas[0].path: cannot specify url & path for s3 replica: the url has it already',
    ],
    [
      'force-path-style: 1',
      'c.yml:5: dbs[0].replicas[0].force-path-style: neither true nor false: 1',
    ],
  ])('%j', (text, refusal) => {
    expect(refusalOf(whole(text))).toBe(refusal)
  })
})
