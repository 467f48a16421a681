// Dependencies point inward: domain, then use cases, then infrastructure, then delivery.
const error = (name, comment, from, to) => ({ name, comment, severity: 'error', from, to })

module.exports = {
  forbidden: [
    error(
      'no-circular',
      'Break the cycle; usually a type belongs one layer further in.',
      {},
      { circular: true },
    ),
    error(
      'domain-is-pure',
      'The domain imports nothing but itself and node:assert.',
      { path: '^src/domain/' },
      { pathNot: ['^src/domain/', '^assert'] },
    ),
    error(
      'usecase-points-inward',
      'Say what you need as a port, and let infrastructure do it.',
      { path: '^src/usecase/' },
      { pathNot: ['^src/(domain|usecase)/', '^assert'] },
    ),
    error(
      'infrastructure-points-inward',
      'An adapter may know the domain and the ports it implements.',
      { path: '^src/infrastructure/' },
      { path: '^src/', pathNot: ['^src/(domain|usecase/ports|infrastructure)/'] },
    ),
    error(
      'adapters-stand-alone',
      'Two adapters that share code share it through the domain.',
      { path: '^src/infrastructure/((?:replica-clients/)?[^/]+)/' },
      { path: '^src/infrastructure/', pathNot: '^src/infrastructure/$1/' },
    ),
    error(
      'only-compose-knows-concretes',
      'Ask src/compose.ts for it. Threads are compositions of their own.',
      { path: '^src/(delivery/|index[.]ts)' },
      { path: '^src/(infrastructure|threads)/' },
    ),
    error(
      'packages-stay-in-their-adapter',
      'Only infrastructure talks to these packages.',
      { path: '^src/', pathNot: '^src/infrastructure/' },
      {
        path: 'node_modules/(better-sqlite3|@aws-sdk|@google-cloud|@azure|lz4-napi|xxhash-wasm|chokidar|yaml|pino)/',
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
