import { accessSync, constants, statfsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'
import { hungMs } from './test/support/patience.ts'

const limits = { testTimeout: hungMs, hookTimeout: hungMs }

/** A folder in memory, in which it costs nothing to sync a file, if this machine has one with room for the files of tests. */
function memoryFolder(): string | undefined {
  const folder = '/dev/shm'
  try {
    accessSync(folder, constants.W_OK)
    const { bavail, bsize } = statfsSync(folder)
    return bavail * bsize > 256 * 1024 * 1024 ? folder : undefined
  } catch {
    return undefined
  }
}

const temporary = memoryFolder()

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
          // No unit test changes what a module holds: loaded once, it serves all files of a process.
          isolate: false,
          env: temporary === undefined ? {} : { TMPDIR: temporary },
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
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
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
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
          // Most of them wait, for intervals and other processes: on two cores, three at a time.
          maxWorkers: 3,
          sequence: { groupOrder: 2 },
          ...limits,
        },
      },
    ],
  },
})
