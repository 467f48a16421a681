import { defineConfig } from 'vitest/config'
import { hungMs } from './test/support/patience.ts'

const limits = { testTimeout: hungMs, hookTimeout: hungMs }

/** `unit` and `contract` read the sources; `integration` drives the built program in `dist`. */
export default defineConfig({
  test: {
    globalSetup: ['./test/support/stores/unreached.ts', './test/support/last-lines.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          pool: 'forks',
          ...limits,
        },
      },
      {
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          // These need servers that npm does not install.
          exclude: ['test/contract/**/*.stores.test.ts'],
          pool: 'forks',
          ...limits,
        },
      },
      {
        test: {
          name: 'integration',
          globalSetup: ['./test/support/built.ts'],
          include: ['test/integration/**/*.test.ts'],
          exclude: ['test/integration/long/**'],
          pool: 'forks',
          maxWorkers: 2,
          ...limits,
        },
      },
    ],
  },
})
