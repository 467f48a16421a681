import { describe, expect, test } from 'vitest'
import { type Generation, parseGeneration } from '../../../../src/domain/wal/generation.ts'
import { type Lineage } from '../../../../src/domain/stored/lineage.ts'
import {
  graceOf,
  type KeepRules,
  planRetention,
  type RetainedGeneration,
  type RetainedSnapshot,
  type RetentionPlan,
} from '../../../../src/domain/policy/retention-policy.ts'

import { type ClockLeap } from '../../../../src/domain/policy/wall-clock.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const nowMs = Date.UTC(2026, 4, 20, 12)
const a = parseGeneration('aaaaaaaaaaaaaaaa')!
const b = parseGeneration('bbbbbbbbbbbbbbbb')!
const none: KeepRules = { hourly: 0, daily: 0, weekly: 0, monthly: 0 }

/** A generation with one index of two segments per snapshot; `agesMs` are those of the commits at the snapshots. */
function generationOf(
  generation: Generation,
  agesMs: readonly number[],
  options: { endAgeMs?: number; withoutTrailers?: boolean } = {},
): RetainedGeneration {
  const snapshots = agesMs.map((ageMs, index): RetainedSnapshot => ({
    kind: 'snapshot',
    generation,
    index,
    sizeBytes: 1,
    createdAtMs: nowMs - ageMs,
    consistentFrom: options.withoutTrailers === true ? undefined : { index, offset: 4152 },
    commitTimeMs: nowMs - ageMs,
    finishedAtMs: nowMs - ageMs,
    broken: false,
  }))
  const segments = agesMs.flatMap((ageMs, index) =>
    [0, 4152].map((offset) => ({
      kind: 'wal-segment' as const,
      generation,
      index,
      offset,
      sizeBytes: 1,
      createdAtMs: nowMs - ageMs,
    })),
  )
  const endMs = nowMs - (options.endAgeMs ?? agesMs.at(-1) ?? 0)
  return {
    generation,
    lineage: undefined,
    snapshots,
    segments,
    endMs,
    newestObjectMs: endMs,
    endPosition: { index: agesMs.length - 1, offset: 8272 },
  }
}

function plan(
  listing: readonly RetainedGeneration[],
  options: {
    retentionMs?: number
    keep?: KeepRules
    current?: Generation
    condemned?: readonly Generation[]
    nowMs?: number
    leaps?: readonly ClockLeap[]
  } = {},
): RetentionPlan {
  return planRetention(
    listing,
    { retentionMs: options.retentionMs ?? dayMs, keep: options.keep ?? none },
    {
      nowMs: options.nowMs ?? nowMs,
      leaps: options.leaps ?? [],
      current: options.current ?? b,
      condemned: new Set(options.condemned),
    },
  )
}

const keptOf = ({ kept }: RetentionPlan, generation: Generation): (number | undefined)[] =>
  kept.filter((each) => each.generation === generation).map(({ snapshot }) => snapshot?.index)

describe('planRetention', () => {
  test('keeps the newest snapshot that is older than the window, with all behind it', () => {
    const found = plan([generationOf(b, [72 * hourMs, 48 * hourMs, 30 * hourMs, 20 * hourMs, 1])])
    expect(keptOf(found, b)).toEqual([2, 3, 4])
    const [deletion] = found.deletions
    expect(deletion?.snapshots.map(({ index }) => index)).toEqual([0, 1])
    expect(deletion?.segments.map(({ index, offset }) => [index, offset])).toEqual([
      [0, 0],
      [0, 4152],
      [1, 0],
      [1, 4152],
    ])
    expect(deletion?.whole).toBe(false)
  })

  test('what fell out of the window stays for a grace period, which is never longer than the window', () => {
    const after = (ageMs: number): RetentionPlan =>
      plan([generationOf(b, [72 * hourMs, dayMs + ageMs, 0])])
    expect(after(9 * 60_000).deletions).toEqual([])
    expect(after(10 * 60_000).deletions).toHaveLength(1)
    expect([graceOf(dayMs), graceOf(5000)]).toEqual([600_000, 5000])
  })

  test('a new snapshot of an old commit takes the place of another only when it was finished before the window, too', () => {
    const young = generationOf(b, [72 * hourMs, 60 * hourMs, 0])
    const [first, second] = young.snapshots
    const finished = (agoMs: number): RetentionPlan =>
      plan([{ ...young, snapshots: [first!, { ...second!, finishedAtMs: nowMs - agoMs }] }])
    expect(finished(dayMs + 9 * 60_000).deletions).toEqual([])
    expect(finished(dayMs + 10 * 60_000).deletions).toHaveLength(1)
  })

  describe('whatever a clock says', () => {
    const hourly = [30 * hourMs, 27 * hourMs, 26 * hourMs, hourMs, 0]
    const found = generationOf(b, hourly)
    const days = (count: number): number => nowMs + count * dayMs

    test('the window ends with the newest commit, and with the newest object by the store’s clock', () => {
      expect(keptOf(plan([found]), b)).toEqual([2, 3, 4])
      expect(keptOf(plan([found], { nowMs: days(300) }), b)).toEqual([2, 3, 4])
      const stampedAhead = { ...found, endMs: days(300) }
      expect(keptOf(plan([stampedAhead], { nowMs: days(300) }), b)).toEqual([2, 3, 4])
      const storedAhead = { ...found, newestObjectMs: days(300) }
      expect(keptOf(plan([storedAhead], { nowMs: days(300) }), b)).toEqual([2, 3, 4])
      // Of another generation, whose writer's clock was ahead.
      const other = { ...generationOf(a, [20 * hourMs]), endMs: days(300) }
      expect(keptOf(plan([other, found], { nowMs: days(300) }), b)).toEqual([2, 3, 4])
    })

    test('one that is behind keeps more', () => {
      expect(keptOf(plan([found], { nowMs: days(-3) }), b)).toEqual([0, 1, 2, 3, 4])
      const { nextChangeMs } = plan([found], { nowMs: nowMs - 2.5 * hourMs })
      expect(nextChangeMs).toBe(nowMs - 26 * hourMs + dayMs + 600_000 + 1)
      expect(plan([found]).nextChangeMs).toBeUndefined()
    })

    test('what was stamped before it was set ahead is younger than it looks', () => {
      const setAhead = (agoMs: number): readonly (number | undefined)[] =>
        keptOf(plan([found], { leaps: [{ toMs: nowMs - agoMs, byMs: 2 * hourMs }] }), b)
      expect(setAhead(0)).toEqual([1, 2, 3, 4])
      expect(setAhead(23 * hourMs)).toEqual([1, 2, 3, 4])
      expect(setAhead(25 * hourMs)).toEqual([2, 3, 4])
    })

    test('a snapshot that a clock dates back takes no place before the store says so, too', () => {
      const [first, second, ...others] = found.snapshots
      const young = { ...second!, finishedAtMs: nowMs - 60_000 }
      const dated = { ...found, snapshots: [first!, young, ...others.slice(1)] }
      expect(keptOf(plan([dated]), b)).toEqual([0, 1, 3, 4])
      const ended = { ...generationOf(a, [80 * hourMs]), newestObjectMs: nowMs - 60_000 }
      expect(keptOf(plan([ended, found]), a)).toEqual([0])
    })
  })

  test('never deletes the current generation, however old', () => {
    expect(plan([generationOf(b, [900 * dayMs])]).deletions).toEqual([])
    const older = generationOf(a, [900 * dayMs])
    expect(plan([older, generationOf(b, [800 * dayMs])], { current: a }).deletions).toEqual([])
  })

  test('an ended generation goes once a newer one reaches back to the beginning of the window', () => {
    const old = generationOf(a, [90 * hourMs, 80 * hourMs])
    expect(keptOf(plan([old, generationOf(b, [20 * hourMs])]), a)).toEqual([1])
    const { deletions } = plan([old, generationOf(b, [26 * hourMs, 1])])
    expect(deletions).toMatchObject([{ generation: a, whole: true }])
    // Its last commit is of the window: another writer may have made it.
    const late = generationOf(a, [90 * hourMs], { endAgeMs: hourMs })
    expect(plan([late, generationOf(b, [26 * hourMs, 1])]).deletions).toEqual([])
  })

  test('the newest generation is the one that follows the other, whatever the times', () => {
    const lineage = (ordinal: number, ...names: Generation[]): Lineage => ({
      ordinal,
      epoch: 1,
      follows: names.map((generation) => ({ generation, end: undefined })),
    })
    const ahead = {
      ...generationOf(a, [90 * hourMs, 70 * hourMs, 30 * hourMs]),
      lineage: lineage(1),
    }
    const current = { ...generationOf(b, [90 * hourMs, 80 * hourMs]), lineage: lineage(2, a) }
    // By times, the older one would take its place.
    const byTimes = [current, ahead].map((each) => ({ ...each, lineage: undefined }))
    const planned = (listing: readonly RetainedGeneration[]): RetentionPlan =>
      planRetention(
        listing,
        { retentionMs: dayMs, keep: none },
        { nowMs, leaps: [], current: undefined, condemned: new Set() },
      )
    expect(keptOf(planned(byTimes), b)).toEqual([])
    expect(planned([current, ahead]).deletions).toEqual([])
  })

  test('a snapshot whose segments have a hole takes no place', () => {
    const found = generationOf(b, [72 * hourMs, 48 * hourMs, 30 * hourMs], { endAgeMs: 0 })
    const without = (index: number): RetainedGeneration => ({
      ...found,
      segments: found.segments.filter((each) => each.index !== index),
    })
    expect(keptOf(plan([found]), b)).toEqual([2])
    expect(keptOf(plan([without(2)]), b)).toEqual([1, 2])
    const [first, second, third] = found.snapshots
    const broken = { ...found, snapshots: [first!, second!, { ...third!, broken: true }] }
    expect(keptOf(plan([broken]), b)).toEqual([1, 2])
  })

  test('deletes nothing when nothing whole would be left', () => {
    const found = generationOf(b, [72 * hourMs, 48 * hourMs])
    const broken = found.snapshots.map((snapshot) => ({ ...snapshot, broken: true }))
    const orphans = { ...generationOf(a, [90 * dayMs]), snapshots: [] }
    const { deletions, kept } = plan([orphans, { ...found, snapshots: broken }])
    expect(deletions).toEqual([])
    expect(kept.every(({ reason }) => reason.includes('no generation that can be restored'))).toBe(
      true,
    )
  })

  test('segments without a snapshot stay for a day, unless their deletion had begun', () => {
    const orphansOf = (ageMs: number): RetainedGeneration => ({
      ...generationOf(a, [ageMs]),
      snapshots: [],
    })
    const current = generationOf(b, [26 * hourMs, 1])
    const quick = { retentionMs: 1000 }
    expect(plan([orphansOf(23 * hourMs), current], quick).deletions).toEqual([])
    const after = plan([orphansOf(25 * hourMs), current], quick).deletions
    expect(after).toContainEqual(expect.objectContaining({ generation: a, whole: true }))
    const begun = plan([orphansOf(hourMs), current], { condemned: [a] }).deletions
    expect(begun).toContainEqual(expect.objectContaining({ generation: a, whole: true }))
  })

  test('when nobody knows the current generation, the newest by commits and by objects stay', () => {
    const listing = [
      { ...generationOf(a, [90 * dayMs]), newestObjectMs: nowMs },
      generationOf(b, [80 * dayMs]),
    ]
    const unknown = { nowMs, leaps: [], current: undefined, condemned: new Set<Generation>() }
    const rules = { retentionMs: dayMs, keep: none }
    expect(planRetention(listing, rules, unknown).deletions).toEqual([])
  })

  test('counts the times of the store for what has no trailer', () => {
    const found = generationOf(b, [72 * hourMs, 48 * hourMs, 1], { withoutTrailers: true })
    expect(keptOf(plan([found]), b)).toEqual([1, 2])
  })
})

describe('keep rules', () => {
  const ages = Array.from({ length: 100 }, (_, i) => (105 - i) * 6 * hourMs)

  test('keep the newest snapshot of each of so many hours, days, weeks and months, with its WAL only', () => {
    const found = plan([generationOf(a, ages), generationOf(b, [26 * hourMs, 1])], {
      keep: { hourly: 0, daily: 4, weekly: 3, monthly: 2 },
    })
    const times = found.kept
      .filter(({ generation }) => generation === a)
      .map(({ snapshot }) => new Date(snapshot?.commitTimeMs ?? 0).toISOString().slice(0, 13))
    // The ends of April, of the weeks to 10 and 17 May, and of the last days; of newer ones there are newer snapshots.
    expect(times).toEqual(['2026-04-30T18', '2026-05-10T18', '2026-05-17T18', '2026-05-18T18'])
    const deletion = found.deletions.find(({ generation }) => generation === a)
    expect(deletion?.whole).toBe(false)
    const indexes = new Set(deletion?.segments.map(({ index }) => index))
    for (const { snapshot, generation } of found.kept)
      if (generation === a && snapshot !== undefined)
        expect(indexes.has(snapshot.index)).toBe(false)
    expect(indexes.size).toBe(100 - times.length)
    // Both of the current generation are the newest of their days.
    expect(found.reliedOn.length).toBe(times.length + 2)
  })

  test('count periods that have a snapshot, not those that passed', () => {
    const yearly = [800, 500, 200].map((days) => days * dayMs)
    const found = plan([generationOf(a, yearly), generationOf(b, [26 * hourMs, 1])], {
      keep: { ...none, monthly: 3 },
    })
    expect(keptOf(found, a)).toEqual([1, 2])
  })
})
