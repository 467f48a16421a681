import { defineConfig } from 'vitest/config'
import { hungMs } from './test/support/patience.ts'

/** Projects that have installed the tarball that is published: the applications of `examples`, and one for each runtime. */
export default defineConfig({
  test: {
    reporters: ['verbose'],
    include: ['test/installed/**/*.test.ts'],
    globalSetup: ['./test/support/tarball.ts', './test/support/last-lines.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: hungMs,
    hookTimeout: hungMs,
  },
})
