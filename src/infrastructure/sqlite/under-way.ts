/**
 * Which database a process works on, in a file that outlives it: the number of the database, or -1. It is written before
 * anything of the database is touched, and a write to a file stays whatever becomes of the process.
 */
import fs from 'node:fs'

export const nothing = -1
/** Of the file, in the process. */
export const underWayDescriptor = 4
const bytes = new Int32Array(1)

export function readUnderWay(descriptor: number): number {
  const count = fs.readSync(descriptor, bytes, 0, bytes.byteLength, 0)
  const [database = nothing] = bytes
  return count < bytes.byteLength ? nothing : database
}

/** Does what is done on a database when no call is made, as by a timer. */
export type AtWork = (work: () => void) => void

/** Does the work on a database. */
type WorkOn = <T>(database: number, work: () => T) => T

/** `descriptor` undefined: nobody wants to know. */
export function sayingWhatIsUnderWay(descriptor: number | undefined): WorkOn {
  if (descriptor === undefined) return (_, work) => work()
  const say = (database: number): void => {
    bytes[0] = database
    fs.writeSync(descriptor, bytes, 0, bytes.byteLength, 0)
  }
  return (database, work) => {
    say(database)
    try {
      return work()
    } finally {
      say(nothing)
    }
  }
}
