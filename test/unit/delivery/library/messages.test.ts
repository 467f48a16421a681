import { describe, expect, test } from 'vitest'
import {
  packMessage,
  unpackFromEngine,
  unpackToEngine,
} from '../../../../src/delivery/library/messages.js'
import * as errors from '../../../../src/domain/errors.js'
import { Secret } from '../../../../src/domain/settings/secret.js'
import * as library from '../../../../src/index.js'

/** All that there are, whoever wrote them. */
const classes = Object.values(errors).filter(
  (each): each is typeof errors.UsageError =>
    typeof each === 'function' && each.prototype instanceof errors.TsreplicateError,
)

/** As the channel between processes carries it. */
const carried = (message: object): unknown => structuredClone(message)

const comesBack = (error: Error): Error => {
  const back = unpackFromEngine(carried(packMessage({ kind: 'failed', error })))
  if (back.kind !== 'failed') throw new Error('another message came')
  return back.error
}

test('there is a class for each error', () => {
  expect(classes.length).toBeGreaterThan(10)
  const listed = [...errors.errorClasses, errors.ObjectExistsError, errors.LostReaderError]
  expect(new Set(classes)).toEqual(new Set(listed))
})

test('one that is a kind of another comes as that', () => {
  const back = comesBack(new errors.ObjectExistsError('it is there'))
  expect(back).toBeInstanceOf(library.ReplicaError)
  expect(back).toMatchObject({ message: 'it is there', retryable: false })
})

describe.each(errors.errorClasses.map((of) => [of.name, of] as const))('%s', (name, of) => {
  test('keeps its class, code, hint and cause on the way from the engine', () => {
    const error = new of('what failed', { hint: 'what to do', cause: new of('why') })
    const back = comesBack(error)
    // The library's user tells them apart by what is exported.
    const known: unknown = Reflect.get(library, name)
    expect(known).toBe(of)
    expect(back).toBeInstanceOf(of)
    expect(back).toMatchObject({
      code: error.code,
      hint: 'what to do',
      message: 'what failed',
      cause: { message: 'why' },
    })
    expect(back.cause).toBeInstanceOf(of)
  })
})

test('what more an error says comes with it, and one that is none of ours stays what it was', () => {
  const missing = [{ database: '/app.db', replica: 'file', detail: 'all' }]
  expect(comesBack(new errors.NotStoredError('late', { missing }))).toMatchObject({ missing })
  const busy = new errors.ReplicaError('busy', { retryable: false })
  expect(comesBack(busy)).toMatchObject({ retryable: false })
  const plain = Object.assign(new RangeError('too long'), { code: 'ERR_OUT_OF_RANGE' })
  expect(comesBack(plain)).toMatchObject({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
})

test('a secret comes to the engine as what it is, and nothing of it is printed', () => {
  const message = { kind: 'add', id: 1, database: { key: new Secret('abc') } as never } as const
  const back = unpackToEngine(carried(packMessage(message)))
  const key: unknown = back.kind === 'add' ? Reflect.get(back.database, 'key') : undefined
  expect(key).toBeInstanceOf(Secret)
  expect([(key as Secret).reveal(), String(key)]).toEqual(['abc', '***'])
})
