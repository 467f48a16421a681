import { defineConfig } from 'vitest/config'

/** The suites that want real object stores; `test/support/stores` starts them, or they run already (see there). */
export default defineConfig({
  test: {
    include: ['test/contract/*.stores.test.ts', 'test/stores/**/*.test.ts'],
    globalSetup: ['./test/support/stores/global-setup.ts', './test/support/last-lines.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
})
