import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

import { splitCommandLine } from '../../../src/kit/command-line.ts'

function wordsOf(line: string): readonly string[] | string {
  const result = splitCommandLine(line)
  return result.kind === 'words' ? result.words : result.problem
}

describe('splitCommandLine', () => {
  it.each([
    ['app', ['app']],
    [' app\t-p  80\n', ['app', '-p', '80']],
    [`app a 'b c' "d e" f\\ g`, ['app', 'a', 'b c', 'd e', 'f g']],
    [`app '' "" x`, ['app', '', '', 'x']],
    [`app a'b'c"d"`, ['app', 'abcd']],
    [`app "a'b" 'a"b'`, ['app', `a'b`, 'a"b']],
    [`app 'a\\b' "a\\\\b" "\\""`, ['app', 'a\\b', 'a\\b', '"']],
    ['app \\t \\n', ['app', 't', 'n']],
    ['app $HOME ~ *', ['app', '$HOME', '~', '*']],
    ['app `a b` c', ['app', '`a b`', 'c']],
    ['app $(a b) c', ['app', '$(a b)', 'c']],
    ['app "$(a" ")"', ['app', '$(a', ')']],
    ['app a\\;b "a;b" \'a>b\'', ['app', 'a;b', 'a;b', 'a>b']],
    [`sh -c 'a && b > /dev/null'`, ['sh', '-c', 'a && b > /dev/null']],
  ])('splits %j', (line, words) => {
    expect(wordsOf(line)).toEqual(words)
  })

  it.each(['app "a', "app 'a", 'app a\\', 'app `a', 'app a(b', 'app a)b', 'app $(a'])(
    'refuses %j, which is left open',
    (line) => {
      expect(wordsOf(line)).toBe('invalid command line string')
    },
  )

  it.each(['a; b', 'a && b', 'a | b', 'a < b', 'a > b', 'a 2>&1'])(
    'refuses %j, which only a shell could run',
    (line) => {
      expect(wordsOf(line)).toMatch(/^unquoted [;&|<>]$/)
    },
  )

  it('refuses what names no program', () => {
    for (const line of ['', ' ', "''", '"" a']) expect(wordsOf(line)).toBe('it is empty')
  })

  it('gives back words that were quoted', () => {
    const quote = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`
    fc.assert(
      fc.property(fc.array(fc.string()), (words) => {
        expect(wordsOf(['app', ...words.map(quote)].join(' '))).toEqual(['app', ...words])
      }),
    )
  })
})
