import { defineConfig } from 'vitest/config'
import { hungMs } from './test/support/patience.ts'

/** What is published, packed and installed into an empty folder. */
export default defineConfig({
  test: {
    include: ['test/package/**/*.test.ts'],
    globalSetup: ['./test/support/installed.ts'],
    pool: 'forks',
    testTimeout: hungMs,
    hookTimeout: hungMs,
  },
})
