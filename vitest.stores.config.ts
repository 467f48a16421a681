import { defineConfig } from 'vitest/config'
import { hungMs } from './test/support/patience.ts'

/** The suites that want real object stores; `test/support/stores` starts them, or they run already (see there). */
export default defineConfig({
  test: {
    include: ['test/contract/*.stores.test.ts', 'test/stores/**/*.test.ts'],
    globalSetup: [
      './test/support/built.ts',
      './test/support/stores/global-setup.ts',
      './test/support/last-lines.ts',
    ],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: hungMs,
    hookTimeout: hungMs,
  },
})
