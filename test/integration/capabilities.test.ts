/** A daemon that has not all rights of root: what it cannot do, it says, and no application is kept from its database. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { cleanUp, program, restore, Running } from '../support/cli.ts'
import { sayAtTheEnd } from '../support/last-lines.ts'
import { notesIn } from '../support/notes.ts'
import { configOf, does, isRoot, makeHost, writesNote } from '../support/tenants.ts'

afterEach(() => cleanUp())

/** Those of the unit. */
const needed = ['dac_override', 'chown', 'fowner']

const lack =
  spawnSync('setpriv', ['--bounding-set=-all', 'true']).status === 0
    ? undefined
    : 'setpriv cannot take capabilities away'
if (isRoot && lack !== undefined)
  sayAtTheEnd(`daemons without capabilities were not tested: ${lack}`)

function startWith(capabilities: readonly string[], config: string): Running {
  const set = ['-all', ...capabilities.map((name) => `+${name}`)].join(',')
  const args = [`--bounding-set=${set}`, '--inh-caps=-all', process.execPath, program]
  return new Running('daemon', 'setpriv', [...args, 'replicate', '-config', config])
}

describe.skipIf(!isRoot || lack !== undefined)('a daemon of root', () => {
  test('replicates what is nobody else’s business with the capabilities of the unit alone', async () => {
    const host = makeHost('alice')
    const [alice] = host.tenants
    does(alice!, 'chmod 600 app.db; chmod 700 .')
    const daemon = startWith(needed, configOf(host, { by: 'path' }))
    await daemon.waitFor(/snapshot written/)
    expect(writesNote(alice!, 'more')).toBe('')
    await daemon.waitFor(/wal segment written/)
    expect(await daemon.stop(), daemon.output).toBe(0)
    expect(writesNote(alice!, 'more')).toBe('')
    const out = join(host.folder, 'out.db')
    await restore(join(host.replicas, 'alice/app.db'), out)
    expect(notesIn(out)).toEqual(['alice', 'more'])
  })

  test.each([
    ['dac_override', /cannot be replicated/],
    ['chown', /the application could not write .*app\.db-wal if user 0 .* created it/],
    ['fowner', undefined],
    ['all', /cannot be replicated/],
  ] as const)(
    'without %s replicates, or says why not, and the application writes',
    async (without, refusal) => {
      const host = makeHost('alice')
      const [alice] = host.tenants
      does(alice!, 'chmod 600 app.db; chmod 700 .')
      const capabilities = without === 'all' ? [] : needed.filter((name) => name !== without)
      const daemon = startWith(capabilities, configOf(host, { by: 'path' }))
      await daemon.waitFor(refusal ?? /snapshot written/)
      expect(writesNote(alice!, 'more')).toBe('')
      expect(await daemon.stop(), daemon.output).toBe(refusal === undefined ? 0 : 74)
      expect(writesNote(alice!, 'more')).toBe('')
    },
  )
})
