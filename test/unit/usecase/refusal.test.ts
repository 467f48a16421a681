import { expect, test } from 'vitest'
import { InUseError } from '../../../src/domain/errors.ts'
import { Refusal } from '../../../src/usecase/refusal.ts'

const clock = { monotonic: () => 0 }
const error = new InUseError('it is in use by process 1')

test('the only database in use elsewhere ends the daemon that has just been started', async () => {
  const refusal = new Refusal(clock, { isAlone: true })
  refusal.refuse(error)
  await expect(refusal.orElse(new Promise(() => undefined))).rejects.toBe(error)
})

test('one among others does not', async () => {
  const refusal = new Refusal(clock, { isAlone: false })
  refusal.refuse(error)
  await expect(refusal.orElse(Promise.resolve('goes on'))).resolves.toBe('goes on')
})
