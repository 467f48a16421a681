import { expect, test } from 'vitest'
import { unitText } from '../../../src/compose/setup.js'

test.each([
  ['/etc/app.yml', '/etc/app.yml'],
  ['/etc/my app.yml', '"/etc/my app.yml"'],
  ['/etc/100%.yml', '/etc/100%%.yml'],
  // To systemd, a backslash before a dollar sign is a part of the path.
  ['/etc/$app.yml', '/etc/$$app.yml'],
  ['/etc/a"b\\c.yml', '"/etc/a\\"b\\\\c.yml"'],
])('the configuration %s is %s in a unit', (path, word) => {
  expect(unitText(path)).toContain(`replicate -config ${word}\n`)
})
