// Dependencies point inward: domain, then use cases, then infrastructure, then delivery. Use cases are divided into
// districts, one for each journey, which meet only in the rooms that all of them share.
const error = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to })
const shared = 'ports|backlog|stored'

module.exports = {
  forbidden: [
    error(
      'no-circular',
      'Break the cycle; usually a type belongs one layer further in.',
      {},
      { circular: true },
    ),
    error(
      'kit-knows-nothing',
      'What knows of SQLite or replicas is no tool for everybody.',
      { path: '^src/kit/' },
      { path: '^(src/|node_modules/)', pathNot: '^src/kit/' },
    ),
    error(
      'domain-is-pure',
      'The domain imports nothing but itself, the kit and node:assert.',
      { path: '^src/domain/' },
      { pathNot: ['^src/(domain|kit)/', '^assert'] },
    ),
    error(
      'usecase-points-inward',
      'Say what you need as a port, and let infrastructure do it.',
      { path: '^src/usecase/' },
      { pathNot: ['^src/(domain|kit|usecase)/', '^assert'] },
    ),
    error(
      'districts-stand-side-by-side',
      'Journeys share ports, the backlog and what is stored; the daemon knows all of them.',
      { path: '^src/usecase/(capture|replica|restore|retention)/' },
      {
        path: '^src/usecase/[^/]+/',
        pathNot: [`^src/usecase/(${shared})/`, '^src/usecase/$1/'],
      },
    ),
    error(
      'verify-may-restore',
      'A verification restores what it verifies, and knows no other journey.',
      { path: '^src/usecase/verify/' },
      {
        path: '^src/usecase/[^/]+/',
        pathNot: [`^src/usecase/(${shared}|verify|restore)/`],
      },
    ),
    error(
      'infrastructure-points-inward',
      'An adapter may know the domain and the ports it implements.',
      { path: '^src/infrastructure/' },
      { path: '^src/', pathNot: ['^src/(domain|kit|usecase/ports|infrastructure)/'] },
    ),
    error(
      'adapters-stand-alone',
      'Two adapters share what is in files/, child-process/, sqlite-library/ or object-store/, and nothing of each other.',
      { path: '^src/infrastructure/((?:replica-clients/)?[^/]+)/' },
      {
        path: '^src/infrastructure/',
        pathNot: [
          '^src/infrastructure/$1/',
          '^src/infrastructure/(files|child-process|sqlite-library|replica-clients/(object-store|around))/',
        ],
      },
    ),
    error(
      'shared-rooms-know-no-adapter',
      'What adapters share imports none of them, and no package of a vendor.',
      {
        path: '^src/infrastructure/(files|child-process|sqlite-library|replica-clients/(object-store|around))/',
      },
      {
        path: '(^src/infrastructure/|node_modules/(@aws-sdk|@google-cloud|@azure))',
        pathNot:
          '^src/infrastructure/(files|child-process|sqlite-library|replica-clients/(object-store|around))/',
      },
    ),
    error(
      'stores-are-named-once',
      'A kind of store is its folder and its entry in the table of adapters; nothing else knows it.',
      {
        path: '^src/',
        pathNot: ['^src/compose/adapters[.]ts$', '^src/infrastructure/replica-clients/'],
      },
      { path: '^src/infrastructure/replica-clients/(file|s3|gcs|azure)/' },
    ),
    error(
      'compose-serves-delivery',
      'What is put together does not know who asked for it.',
      { path: '^src/compose/' },
      { path: '^src/(delivery/|index[.]ts)' },
    ),
    error(
      'only-compose-knows-concretes',
      'Ask src/compose for it.',
      { path: '^src/(delivery/|index[.]ts)' },
      { path: '^src/(infrastructure|compose/threads)/' },
    ),
    error(
      'workers-are-threads',
      'A worker is started by its URL, in a thread of its own.',
      { path: '^src/', pathNot: '^src/compose/threads/' },
      { path: '^src/infrastructure/.*-worker[.]ts$' },
    ),
    error(
      'packages-stay-in-their-adapter',
      'Only infrastructure talks to these packages.',
      { path: '^src/', pathNot: '^src/infrastructure/' },
      {
        path: 'node_modules/(better-sqlite3|@aws-sdk|@google-cloud|@azure|lz4-napi|xxhash-wasm|chokidar|yaml|pino|prom-client|age-encryption)/',
      },
    ),
    error(
      'commander-stays-in-the-cli',
      'Parsing a command line is delivery.',
      { path: '^src/', pathNot: '^src/delivery/cli/' },
      { path: 'node_modules/commander/' },
    ),
    error(
      'no-import-of-tests',
      'Move the helper out of test/.',
      { path: '^src/' },
      { path: '^test/' },
    ),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
}
