import { expect, test } from 'vitest'
import { type DatabaseFolder } from '../../../../src/domain/settings/config.js'
import { FollowFolders } from '../../../../src/usecase/daemon/follow-folders.js'
import { type WatchedFolder } from '../../../../src/usecase/ports/watched-folder.js'
import { ManualClock } from '../../../support/manual-clock.ts'
import { silent } from '../../../support/silent-logger.ts'

const scanMs = 1000
const hourMs = 3_600_000

/** A folder so large that each look takes a second. */
function follow({
  clock,
  hasEmpty = false,
  watchProblem,
  waits = (ms, signal) => clock.sleep(ms, signal),
}: {
  readonly clock: ManualClock
  readonly hasEmpty?: boolean
  readonly watchProblem?: string
  readonly waits?: WatchedFolder['waitForChange']
}): { readonly follower: FollowFolders; readonly looks: () => number } {
  let looks = 0
  const folder: WatchedFolder = {
    async scan(_replicated, signal) {
      looks += 1
      await clock.sleep(scanMs, signal)
      return { found: [], hasEmpty, unreadable: [], unreadableFolders: [] }
    },
    waitForChange: (ms, signal) => waits(ms, signal).catch(() => undefined),
    watchProblem,
    removeLeftState: () => Promise.resolve([]),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
  const follower = new FollowFolders({
    open: () => folder,
    replicated: () => ({ paths: new Set(), has: () => false }),
    changed: () => undefined,
    clock,
    logger: silent,
  })
  const config = { path: '/data', pattern: '*', recursive: true, watch: true }
  follower.want([config as unknown as DatabaseFolder])
  return { follower, looks: () => looks }
}

test.each<[string, Omit<Parameters<typeof follow>[0], 'clock'>]>([
  ['has an empty file', { hasEmpty: true }],
  ['has something come and go all the time', { waits: () => Promise.resolve() }],
  ['cannot be watched', { watchProblem: 'ENOSPC' }],
])('a large folder that %s is not looked through all the time', async (_, how) => {
  const clock = new ManualClock()
  const { follower, looks } = follow({ clock, ...how })
  await clock.advance(hourMs)
  // A look takes a second, and then nothing is done for 20.
  expect(looks()).toBeGreaterThan(hourMs / 22_000)
  expect(looks()).toBeLessThanOrEqual(Math.ceil(hourMs / 21_000))
  follower.stop()
})

test('what comes into a large folder that was quiet is found at once, and what is asked for, too', async () => {
  const clock = new ManualClock()
  let wake = (): void => undefined
  const waits: WatchedFolder['waitForChange'] = async (_ms, signal) => {
    await new Promise<void>((resolve) => {
      wake = resolve
      signal.addEventListener('abort', () => resolve())
    })
  }
  const { follower, looks } = follow({ clock, waits })
  await clock.advance(scanMs + 25_000)
  expect(looks()).toBe(1)
  wake()
  await clock.advance(200)
  expect(looks()).toBe(2)
  await clock.advance(scanMs)
  wake()
  await clock.advance(200)
  expect(looks()).toBe(2)
  const asked = follower.lookAgain()
  await clock.advance(200)
  expect(looks()).toBe(3)
  await clock.advance(scanMs)
  await asked
  follower.stop()
})
