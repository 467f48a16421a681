import { describe, expect, it } from 'vitest'
import { ConfigError } from '../../../../src/domain/errors.ts'
import { parseConfig } from '../../../../src/infrastructure/config/config-file.ts'
import { expandPath } from '../../../../src/infrastructure/config/paths.ts'

const context = { home: '/home/me', cwd: '/work', env: {} }

describe('expandPath', () => {
  it.each([
    ['~', '/home/me'],
    ['~/x', '/home/me/x'],
    ['~bob/x', '/work/~bob/x'],
    ['a/../b', '/work/b'],
    ['/a//b/', '/a/b'],
  ])('%s is %s', (path, expanded) => {
    expect(expandPath(path, context)).toBe(expanded)
  })

  it('needs a home directory only where ~ is written', () => {
    const homeless = { ...context, home: undefined }
    expect(expandPath('x', homeless)).toBe('/work/x')
    expect(() => expandPath('~/x', homeless)).toThrow(ConfigError)
    const text = 'dbs:\n  - path: ~/a.db\n    replicas: [{path: ~/r}]\n'
    expect(() => parseConfig(text, 'c.yml', homeless)).toThrow(
      /^c.yml:2: dbs\[0\].path: there is no home directory .*\nc.yml:3: /,
    )
  })
})
