/** A daemon of root replicates the databases of users of whom most have something in mind; `npm run test:scenes` tries more ways to run it. */
import { afterEach, describe, test } from 'vitest'
import { cleanUp } from '../support/cli.ts'
import { play, playInUnit, root } from '../support/malicious-play.ts'
import { lackOfSystemd } from '../support/systemd.ts'
import { isRoot } from '../support/tenants.ts'

describe.skipIf(!isRoot)(
  'whatever tenants do, the others are stored, and root’s files are as they were',
  () => {
    afterEach(() => cleanUp())

    test('each database by its path', () => play({ by: 'path', metaPath: 'some' }, root))

    test('in a folder', () => play({ by: 'dir', metaPath: 'all' }, root))

    test.skipIf(lackOfSystemd !== undefined).each(['path', 'dir'] as const)(
      'in the sandbox of the unit (%s)',
      (by) => playInUnit({ by, metaPath: by === 'dir' ? 'all' : 'some' }),
    )
  },
)
