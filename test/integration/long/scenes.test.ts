/** Each thing that a tenant can do, with each way in which a daemon may be run: `npm run test:scenes`. */
import { afterEach, describe, test } from 'vitest'
import { cleanUp } from '../../support/cli.ts'
import {
  capabilitiesOfUnit,
  play,
  playInUnit,
  type Role,
  root,
  rootWith,
  type Scene,
  serviceOf,
  tenantCount,
} from '../../support/malicious-play.ts'
import { lackOfSystemd } from '../../support/systemd.ts'
import { firstUser, isRoot } from '../../support/tenants.ts'

afterEach(() => cleanUp())

const places: readonly Scene[] = (['path', 'dir'] as const).flatMap((by) => [
  { by },
  { by, metaPath: 'all' as const },
])
const scenes: readonly Scene[] = places.flatMap((scene) => [
  scene,
  { ...scene, owner: 'database' as const },
])
const nameOf = ({ by, metaPath, owner }: Scene): string =>
  [by, metaPath && 'meta-path', owner && 'replicas of theirs'].filter(Boolean).join(', ')
const named = (some: readonly Scene[]) => some.map((scene) => [nameOf(scene), scene] as const)

const without = (capability: string): string[] =>
  capabilitiesOfUnit.filter((each) => each !== capability)
const groups = Array.from({ length: tenantCount }, (_, i) => firstUser + i)
const inPart: Readonly<Record<string, Role>> = {
  'an ordinary user': serviceOf(groups),
  'root without dac_override': rootWith(without('dac_override'), /cannot (be replicated|read)/),
  'root without chown': rootWith(without('chown'), /the application could not write/),
  'root without capabilities': rootWith([], /cannot (be replicated|read)/),
}

describe.skipIf(!isRoot)('whatever tenants do, nobody else has a disadvantage', () => {
  test.each(named(scenes))('root: %s', (_, scene) => play(scene, root))

  test.skipIf(lackOfSystemd !== undefined).each(named(scenes))('the unit: %s', (_, scene) =>
    playInUnit(scene),
  )

  test.each(named(scenes))('root without fowner: %s', (_, scene) =>
    play(scene, rootWith(without('fowner'))),
  )

  describe.each(Object.entries(inPart))('%s', (_name, role) => {
    test.each(named(places))('%s', (_, scene) => play(scene, role))
  })
})
