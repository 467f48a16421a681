import { expect, test } from 'vitest'
import { transportRefusal } from '../../../../../src/infrastructure/replica-clients/object-store/refused-request.ts'

test.each([
  ['ECONNREFUSED', '', /nothing listens at the endpoint/, true],
  ['ENOTFOUND', '', /does not resolve$/, true],
  ['EAI_AGAIN', '', /does not resolve now: no name server answers/, true],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', '', /certificate of the server is not trusted/, false],
  ['EPROTO', 'SSL routines: wrong version number', /does not speak TLS/, false],
] as const)('without an answer, %s is said in words', (code, message, phrase, retryable) => {
  const refusal = transportRefusal({ code, status: undefined, message })
  expect(refusal).toMatchObject({ phrase: expect.stringMatching(phrase) as string, retryable })
  expect(refusal?.hint).toBeDefined()
})

test('what a store answered is not for this table', () => {
  expect(transportRefusal({ code: 'ENOTFOUND', status: 404, message: '' })).toBeUndefined()
})
