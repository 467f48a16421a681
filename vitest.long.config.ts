import { defineConfig } from 'vitest/config'

/** The suites that take longer than a check may: run by `npm run test:long` and its parts. */
export default defineConfig({
  test: {
    // Each test is said when it ends, not an hour later.
    reporters: ['verbose'],
    include: ['test/integration/long/**/*.test.ts'],
    globalSetup: ['./test/support/built.ts', './test/support/last-lines.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 3_600_000,
    hookTimeout: 120_000,
  },
})
