import { expect, test } from 'vitest'
import { DescriptorRoom, NoRoomError } from '../../../../src/usecase/daemon/descriptor-room.js'
import { silent } from '../../../support/silent-logger.ts'

/** As many as there is room for, of so many. */
function takeUpTo(room: DescriptorRoom, owner: number, count: number): Disposable[] {
  const taken: Disposable[] = []
  try {
    while (taken.length < count) taken.push(room.take({ isFound: true, owner }))
  } catch (error) {
    expect(error).toBeInstanceOf(NoRoomError)
  }
  return taken
}

/** Room for 1,000. */
const roomOf = (): DescriptorRoom => new DescriptorRoom(150 + 6000, silent)

test('whoever comes after the one who has the most finds room', () => {
  const room = roomOf()
  expect(takeUpTo(room, 1, 20_000)).toHaveLength(875)
  for (let owner = 2; owner < 102; owner += 1) expect(takeUpTo(room, owner, 1)).toHaveLength(1)
  expect(takeUpTo(room, 200, 20_000)).toHaveLength(22)
})

test('a thousand who have one each find room', () => {
  const room = roomOf()
  for (let owner = 1; owner <= 1000; owner += 1) expect(takeUpTo(room, owner, 1)).toHaveLength(1)
  expect(takeUpTo(room, 1001, 1)).toHaveLength(0)
})

test('what is given back is there for others, once', () => {
  const room = roomOf()
  const taken = takeUpTo(room, 1, 875)
  for (const each of taken) each[Symbol.dispose]()
  for (const each of taken) each[Symbol.dispose]()
  expect(takeUpTo(room, 2, 20_000)).toHaveLength(875)
})

test('a database that the configuration names is never refused, and takes room', () => {
  const room = roomOf()
  for (let i = 0; i < 1001; i += 1) room.take({ isFound: false, owner: 1 })
  expect(() => room.take({ isFound: true, owner: 2 })).toThrow(
    'no room for one more database of user 2 under the limit of 6150 open files: raise it (LimitNOFILE= in the unit, ulimit -Hn), or remove some',
  )
})

test('a limit that is not known refuses nobody', () => {
  expect(takeUpTo(new DescriptorRoom(undefined, silent), 1, 20_000)).toHaveLength(20_000)
})
