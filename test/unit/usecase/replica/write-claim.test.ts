import { beforeEach, expect, test } from 'vitest'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { never } from '../../../../src/kit/abort.js'
import { GenerationFeed } from '../../../../src/usecase/backlog/generation-feed.js'
import { type Claimed, type OwnReplica } from '../../../../src/usecase/replica/own-replica.js'
import { WriteClaim } from '../../../../src/usecase/replica/write-claim.js'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.js'

const first = formatGeneration(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1))
const second = formatGeneration(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 2))

let feed: GenerationFeed
let answers: Claimed[]
let begun: number
let isCopied: boolean
let claim: WriteClaim

beforeEach(() => {
  feed = new GenerationFeed()
  answers = []
  begun = 0
  isCopied = false
  const owner = {
    claim: () => Promise.resolve(answers.shift()),
    begun: () => {
      begun += 1
      return Promise.resolve()
    },
    get isCopied() {
      return isCopied
    },
  } as unknown as OwnReplica
  claim = new WriteClaim({ client: new MemoryReplicaClient(), feed, owner })
})

test('where nobody else writes, nothing has to be claimed', () => {
  const alone = new WriteClaim({ client: new MemoryReplicaClient(), feed, owner: undefined })
  expect(alone.mayWrite).toBe(true)
  expect(alone.isCopied).toBe(false)
})

test('after our own process, its generation may go on', async () => {
  feed.continued = first
  answers = ['same writer']
  expect(claim.mayWrite).toBe(false)
  expect(await claim.obtain(first, never)).toBe(true)
  expect(claim.mayWrite).toBe(true)
  expect(begun).toBe(0)
  expect(feed.hasWish).toBe(false)
})

test('after another writer, a new generation is asked for once, and only that may be written to', async () => {
  feed.continued = first
  answers = ['another writer']
  expect(await claim.obtain(first, never)).toBe(false)
  expect(feed.takeNewGeneration()?.reason).toBe('replica taken over from another writer')
  expect(await claim.obtain(first, never)).toBe(false)
  expect(feed.hasWish).toBe(false)
  expect(claim.mayWrite).toBe(false)
  expect(await claim.obtain(second, never)).toBe(true)
  expect(claim.mayWrite).toBe(true)
  expect(begun).toBe(1)
})

test('a claim that somebody else has, too, is made anew, and not for the generation that both write to', async () => {
  answers = ['same writer', 'another writer']
  await claim.obtain(first, never)
  isCopied = true
  expect(claim.isCopied).toBe(true)
  claim.doubt(first)
  expect(claim.isCopied).toBe(false)
  expect(claim.mayWrite).toBe(false)
  expect(await claim.obtain(first, never)).toBe(false)
  expect(feed.takeNewGeneration()?.reason).toBe('replica taken over from another writer')
  expect(await claim.obtain(second, never)).toBe(true)
})
