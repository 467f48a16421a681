import { expect, test } from 'vitest'
import { parseLocks } from '../../../../src/infrastructure/files/kernel-locks.js'
import { besideAnotherLog } from '../../../../src/infrastructure/sqlite/file-locks.js'

const text = `1: POSIX  ADVISORY  READ 100 fe:00:77 1073741826 1073742335
2: POSIX  ADVISORY  READ 100 fe:00:78 128 128
3: POSIX  ADVISORY  READ 200 fe:00:77 1073741826 1073742335
4: POSIX  ADVISORY  READ 200 fe:00:78 128 128
5: POSIX  ADVISORY  READ 300 fe:00:77 1073741826 1073742335
6: POSIX  ADVISORY  READ 300 fe:00:99 128 128
7: POSIX  ADVISORY  READ 400 08:01:77 1073741826 1073742335
8: FLOCK  ADVISORY  WRITE 500 fe:00:77 0 EOF
8: -> POSIX ADVISORY  WRITE 600 fe:00:77 0 0
9: OFDLCK ADVISORY  READ -1 fe:00:77 1073741826 1073742335
10: POSIX  ADVISORY  WRITE 700 fe:00:77 0 EOF
11: POSIX  ADVISORY  READ 300 fe:00:77 1073741824 1073741824
`

test('who has a database open with another -shm is told from who has it open with ours', () => {
  const database = { inode: 77, shmInode: 78, own: 100 }
  expect(besideAnotherLog(parseLocks(text), database)).toEqual([300])
})

test('where our own lock is not listed, nothing is told', () => {
  const locks = parseLocks(text)
  expect(besideAnotherLog(locks, { inode: 77, shmInode: 78, own: 101 })).toEqual([])
})
