import { defineConfig } from 'vitest/config'

/** `unit` and `contract` read the sources; `integration` drives the built program in `dist`. */
export default defineConfig({
  test: {
    globalSetup: ['./test/support/stores/unreached.ts', './test/support/last-lines.ts'],
    projects: [
      {
        // Nothing here waits for a clock: the limit only ends what hangs, on a busy machine, too.
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          pool: 'forks',
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          // These need servers that npm does not install.
          exclude: ['test/contract/**/*.stores.test.ts'],
          pool: 'forks',
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          exclude: ['test/integration/long/**'],
          pool: 'forks',
          maxWorkers: 2,
          testTimeout: 120_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
})
