/**
 * What networks and stores do to us, done by a proxy between the daemon and each real store. Whatever it is: nothing is
 * lost, nothing is called stored that is not, the application does not notice, and half a minute after its end all is as
 * before. `npm run test:faults` does all of it on every store; `npm run test:stores` the most telling part, on MinIO.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, inject, test } from 'vitest'
import { cleanUp, until } from '../support/cli.js'
import { lastAcknowledged } from '../support/ledger.js'
import {
  type Fault,
  type ProxiedRequest,
  refusal,
  rewriteListing,
  type Rule,
} from '../support/stores/fault-proxy.js'
import { recoveryMs, Scene, type SceneOptions } from '../support/stores/fault-scene.js'
import { placesOf } from '../support/stores/places.js'

const skewMs = 5 * 3_600_000
const isThorough = process.env.TSREPLICATE_FAULTS === 'all'

interface Case {
  readonly name: string
  /** Part of `npm run test:stores`. */
  readonly telling?: true
  /** Made anew for each test, since it may count. */
  readonly rule: () => Rule
}

const always =
  (fault: Fault): (() => Rule) =>
  () =>
  () =>
    fault
/** For the requests of some kinds. */
const on =
  (
    kinds: readonly ProxiedRequest['kind'][],
    fault: Fault,
    which: (nth: number) => boolean = () => true,
  ): (() => Rule) =>
  () => {
    let count = 0
    return ({ kind }) => (kinds.includes(kind) && which(count++) ? fault : undefined)
  }
/** All go through, and slowly. */
const whileSlow: readonly Case[] = [
  { name: 'a latency of 300 ms', telling: true, rule: always({ latencyMs: 300 }) },
  { name: '10 KB/s', rule: always({ bytesPerSecond: 10_000 }) },
]

/** The key that an S3 request with the bucket in the path is about. */
const keyIn = (url: string): string =>
  decodeURIComponent(new URL(url, 'http://store').pathname.split('/').slice(2).join('/'))

const everyOther = (nth: number): boolean => nth % 2 === 0
const first = (nth: number): boolean => nth === 0

/** While segments are written, one a moment. */
const whileWriting: readonly Case[] = [
  { name: 'every request is reset', rule: always({ reset: 'before' }) },
  {
    name: 'every answer is lost',
    telling: true,
    rule: always({ reset: 'after' }),
  },
  { name: 'requests are cut in the middle', rule: on(['write'], { cutRequestAfterBytes: 200 }) },
  { name: 'nothing is ever answered', telling: true, rule: always({ stall: 'before' }) },
  ...[
    [408, 'RequestTimeout'] as const,
    [409, 'OperationAborted'] as const,
    [429, 'TooManyRequests'] as const,
    [500, 'InternalError'] as const,
    [503, 'SlowDown'] as const,
  ].map(([status, code]) => ({
    name: `everything is answered with ${status}`,
    ...(status === 503 ? { telling: true as const } : {}),
    rule: always({ answer: refusal(status, code) }),
  })),
]

/** While the first snapshot goes up, in three parts. */
const whileSnapshot: readonly Case[] = [
  { name: 'every other part is reset', rule: on(['part'], { reset: 'before' }, everyOther) },
  {
    name: 'every other part is cut in the middle',
    telling: true,
    rule: on(['part'], { cutRequestAfterBytes: 1_000_000 }, everyOther),
  },
  {
    name: 'every other answer to a part is lost',
    rule: on(['part'], { reset: 'after' }, everyOther),
  },
  { name: 'all parts are refused', rule: on(['part'], { answer: refusal(503, 'SlowDown') }) },
  // Azure has no request that begins.
  {
    name: 'the answer to its beginning is lost',
    rule: on(['begin', 'part'], { reset: 'after' }, first),
  },
  {
    name: 'the answer to its finish is lost',
    telling: true,
    rule: on(['finish'], { reset: 'after' }, first),
  },
  {
    name: 'its finish is an error under the status of a success',
    telling: true,
    rule: on(['finish'], { answer: { ...refusal(200, 'InternalError'), status: 200 } }),
  },
  {
    name: 'its finish is refused',
    rule: on(['finish'], { answer: refusal(500, 'InternalError') }),
  },
]

afterAll(() => cleanUp())

for (const [name, place] of Object.entries(placesOf(inject('stores')))) {
  if (name !== 'MinIO' && !isThorough) continue
  if ('unavailable' in place) {
    test.skip(`${name} is not reached: ${place.unavailable}`, () => undefined)
    continue
  }
  const open = (options?: SceneOptions) => Scene.open(place, options)
  const wanted = (cases: readonly Case[]) =>
    cases.filter(({ telling = false }) => isThorough || telling)
  describe.concurrent(name, () => {
    test.each(wanted(whileWriting))('$name', async ({ rule }) => {
      await using scene = await open()
      const startedAtMs = performance.now()
      scene.startDaemon()
      scene.startWriter()
      await scene.replicating()
      await scene.suffer(rule(), 5000)
      scene.proxy.follow(undefined)
      await scene.stores('after the fault')
      await scene.expectAllStored(startedAtMs)
    })

    test.each(wanted(whileSnapshot))('of a snapshot, $name', async ({ rule }) => {
      await using scene = await open({ rows: 2400 })
      const startedAtMs = performance.now()
      scene.startDaemon()
      scene.startWriter()
      await scene.suffer(rule(), 4000)
      scene.proxy.follow(undefined)
      await scene.snapshotWritten()
      await scene.expectAllStored(startedAtMs)
    })

    test('a daemon that is killed or stopped within a snapshot leaves no parts', async (context) => {
      // Of more than two parts, also where one has 8 MiB.
      await using scene = await open({ rows: 4800 })
      scene.configure({}, { 'shutdown-timeout': '1s' })
      scene.proxy.follow(on(['part'], { stall: 'before' }, (nth) => nth > 0)())
      const begun = () => scene.proxy.requests.filter(({ kind }) => kind === 'begin')
      const firstPart = () => scene.proxy.requests.filter(({ kind }) => kind === 'part').length > 1
      scene.startDaemon()
      await until(firstPart, recoveryMs, 'parts to be sent')
      const keys = begun().map(({ url }) => keyIn(url))
      const left = async () => (await Promise.all(keys.map((key) => place.unfinished(key)))).flat()
      if ((await left()).length === 0) return context.skip('parts of this store end by themselves')
      await scene.daemon.kill()
      expect(await left()).toHaveLength(1)
      // The next one's snapshot may have another name.
      scene.startWriter()
      scene.startDaemon()
      await until(async () => (await left()).length === 0, recoveryMs, 'the parts to be removed')
      const before = begun().length
      await until(() => begun().length > before - 1, recoveryMs, 'another snapshot to begin')
      await scene.stopWriter()
      expect(await scene.daemon.stop()).toBe(74)
      keys.push(...begun().map(({ url }) => keyIn(url)))
      expect(await left()).toEqual([])
    })

    test.each(wanted(whileSlow))('$name', async ({ rule }) => {
      await using scene = await open({ settings: { 'sync-interval': '1s' } })
      const startedAtMs = performance.now()
      scene.proxy.follow(rule())
      scene.startDaemon()
      scene.startWriter({ rate: 1 })
      await scene.replicating()
      for (let i = 0; i < 3; i++) await scene.stores('slowly')
      await scene.expectAllStored(startedAtMs)
      expect(await scene.restore(place.through(scene.proxy.endpoint))).toBe(
        lastAcknowledged(scene.oracle),
      )
    })

    test('a store that is gone for a while', async () => {
      await using scene = await open()
      const startedAtMs = performance.now()
      scene.startDaemon()
      scene.startWriter()
      await scene.replicating()
      await scene.proxy.listen(false)
      await sleep(isThorough ? 60_000 : 10_000)
      await scene.proxy.listen(true)
      await scene.stores('after the outage')
      expect(scene.problems[0]?.err?.message).toContain('nothing listens at the endpoint')
      await scene.expectAllStored(startedAtMs)
    })

    test('a daemon that is stopped while the store is gone says what is not stored', async () => {
      await using scene = await open()
      scene.configure({}, { 'shutdown-timeout': '2s' })
      scene.startDaemon()
      scene.startWriter()
      await scene.replicating()
      scene.proxy.follow(always({ stall: 'before' })())
      await sleep(1000)
      await scene.stopWriter()
      expect(await scene.daemon.stop()).toBe(74)
      expect(scene.problems.map(({ msg }) => msg)).toContain('not stored')
      await scene.expectNothingFalse()
      expect(await scene.restore()).toBeLessThan(lastAcknowledged(scene.oracle))
      scene.proxy.follow(undefined)
      scene.configure()
      scene.startDaemon()
      scene.startWriter()
      await scene.stores('after the restart')
      await scene.expectAllStored(performance.now())
    })

    test.each([
      ['unsorted', <T>(entries: T[]) => entries.reverse()],
      ['without the newest objects', <T>(entries: T[]) => entries.slice(0, -2)],
    ])('a listing %s', async (_, change) => {
      await using scene = await open()
      scene.startDaemon()
      scene.startWriter()
      await scene.replicating()
      for (let i = 0; i < 5; i++) await scene.stores('before the restart')
      await scene.stopWriter()
      expect(await scene.daemon.stop()).toBe(0)
      const startedAtMs = performance.now()
      const page = (body: string) => rewriteListing(body, change)
      scene.startWriter()
      scene.proxy.follow(on(['list'], { rewrite: page })())
      scene.startDaemon()
      await scene.stores('after the restart')
      const isComplete = change([1, 2]).length === 2
      if (!isComplete) {
        // What is not listed, and there all the same, is ours, and is gone on from; the listing catches up some day.
        for (let i = 0; i < 3; i++) await scene.stores('while the listing lags')
        expect(scene.problems).toEqual([])
        scene.proxy.follow(undefined)
        await scene.stores('with the whole listing')
      }
      await scene.expectAllStored(startedAtMs)
      if (change([1, 2])[0] === 2) {
        const through = place.through(scene.proxy.endpoint)
        expect(await scene.restore(through)).toBe(lastAcknowledged(scene.oracle))
      }
    })

    test('a clock that is five hours wrong', async () => {
      const clock = `const D = Date; globalThis.Date = class extends D {
        constructor(...a) { a.length === 0 ? super(D.now() + ${skewMs}) : super(...a) }
        static now() { return D.now() + ${skewMs} } }`
      const url = `data:text/javascript,${encodeURIComponent(clock)}`
      await using scene = await open({ nodeArguments: ['--import', url] })
      const startedAtMs = performance.now()
      scene.startDaemon()
      scene.startWriter()
      await scene.replicating()
      await scene.expectAllStored(startedAtMs)
    })

    test('what is wrong with credentials or bucket is told apart, once, and disturbs nobody', async () => {
      const troubles = await place.troubles()
      await Promise.all(
        troubles.map(async ({ name, settings, phrase }) => {
          await using scene = await open({ settings })
          scene.configure({}, { 'shutdown-timeout': '1s' })
          const startedAtMs = performance.now()
          scene.startDaemon()
          scene.startWriter()
          await until(
            () => scene.problems.length > 0,
            recoveryMs,
            () => `${name} to be told; the daemon printed:\n${scene.daemon.output}`,
          )
          await sleep(4000)
          scene.expectQuietLog(startedAtMs)
          const [problem] = scene.problems
          const said = `${problem?.err?.message ?? ''} ${problem?.hint ?? ''}`
          expect(said).toMatch(phrase)
          expect(troubles.filter((other) => other.phrase.test(said))).toHaveLength(1)
          await scene.stopWriter()
          expect(await scene.daemon.stop()).toBe(74)
        }),
      )
    })

    test('a bucket that is made while it is missed', async () => {
      const bucket = `tsreplicate-${randomUUID()}`
      await using scene = await open({ settings: { bucket } })
      scene.startDaemon()
      scene.startWriter()
      await until(() => scene.problems.length > 0, recoveryMs, 'the bucket to be missed')
      await place.createBucket(bucket)
      await scene.snapshotWritten()
      await scene.stores('in the new bucket')
      await scene.stopWriter()
      expect(await scene.daemon.stop()).toBe(0)
      expect(scene.problems).toHaveLength(1)
    })

    test('credentials that may not delete store all the same', async (context) => {
      const settings = await place.withoutDeletion()
      if (settings === undefined) return context.skip('the store has no such credentials')
      const retention = { retention: '2s', 'retention-check-interval': '1s' }
      await using scene = await open({ settings: { ...settings, ...retention } })
      scene.configure({}, {}, { 'min-checkpoint-page-count': 20, 'checkpoint-interval': '1s' })
      const startedAtMs = performance.now()
      scene.startDaemon()
      scene.startWriter()
      await until(
        () => scene.problems.length > 0,
        60_000,
        () => `a deletion to be refused; the daemon printed:\n${scene.daemon.output}`,
      )
      const [problem] = scene.problems
      expect(problem?.msg).toContain('retention could not delete')
      expect(problem?.err?.message).toContain('permission denied')
      await scene.stores('without deletion')
      await scene.expectAllStored(startedAtMs)
    })

    const reading: readonly Case[] = [
      {
        name: 'bodies that are cut',
        telling: true,
        rule: on(['read'], { cutAnswerAfterBytes: 50_000 }, (nth) => nth % 3 === 0),
      },
      {
        name: 'every other request refused',
        rule: on(['read', 'list'], { answer: refusal(503, 'SlowDown') }, everyOther),
      },
      {
        name: 'every other request reset',
        rule: on(['read', 'list'], { reset: 'before' }, everyOther),
      },
      {
        name: 'every other answer reset',
        rule: on(['read', 'list'], { reset: 'after' }, everyOther),
      },
      {
        name: 'a body that stalls',
        rule: on(['read'], { stall: { answerAfterBytes: 1000 } }, first),
      },
      { name: 'a request that stalls', rule: on(['read'], { stall: 'before' }, first) },
      { name: 'latency', rule: always({ latencyMs: 200 }) },
    ]

    test('restores through all that happens to reading', async () => {
      await using scene = await open({ rows: 2400 })
      scene.startDaemon()
      scene.startWriter()
      await scene.replicating()
      for (let i = 0; i < 5; i++) await scene.stores('more')
      await scene.stopWriter()
      expect(await scene.daemon.stop()).toBe(0)
      const through = place.through(scene.proxy.endpoint)
      for (const { rule } of wanted(reading)) {
        scene.proxy.follow(rule())
        expect(await scene.restore(through)).toBe(lastAcknowledged(scene.oracle))
      }
      // A body that was resumed was asked for from where it broke, and only of the same version.
      const resumed = scene.proxy.requests.filter(
        ({ kind, url, headers }) =>
          kind === 'read' &&
          (headers['if-match'] !== undefined ||
            /[?&](?:ifG|g)enerationMatch=|[?&]generation=/.test(url)),
      )
      expect(resumed.length).toBeGreaterThan(0)
      for (const { headers } of resumed) {
        expect(headers.range ?? headers['x-ms-range']).toMatch(/^bytes=\d+-/)
      }
    })

    test('a restore of bodies that were cut short, or of a store that is gone, fails and leaves nothing', async () => {
      await using scene = await open({ rows: 600 })
      scene.startDaemon()
      scene.startWriter()
      await scene.replicating()
      await scene.stopWriter()
      expect(await scene.daemon.stop()).toBe(0)
      const through = place.through(scene.proxy.endpoint)
      const output = join(scene.folder, 'out.db')
      for (const rule of [
        on(['read'], { endAnswerAfterBytes: 30_000 }),
        always({ reset: 'before' }),
      ]) {
        scene.proxy.follow(rule())
        const running = await scene.command('restore', ['-o', output], through)
        expect(running.child.exitCode, running.output).toBe(1)
        expect(running.stderr).toMatch(/cannot|ends too early/)
        expect(readdirSync(scene.folder).filter((name) => name.startsWith('out.db'))).toEqual([])
      }
    })
  })
}
