/**
 * Which file SQLite has opened. It opens by name, and does not tell: the descriptors do. Whoever takes a file's name away for
 * that moment would have another one opened.
 */
import fs, { type Stats } from 'node:fs'
import { codeOf } from '../../kit/error-text.js'
import { type FileIdentity } from '../../usecase/ports/managed-database.js'

const folder = '/proc/self/fd'
/** More than a connection opens at once, beside what other threads do. */
const usualCount = 16

/** The lowest that is free: what is opened next gets it. */
export function nextDescriptor(): number {
  const descriptor = fs.openSync('/dev/null', 'r')
  fs.closeSync(descriptor)
  return descriptor
}

/** Opens a file for reading that this process has open, by whatever name, or none. Throws if it has not. Only Linux can. */
export function openByDescriptor(isThat: (stats: Stats) => boolean): number {
  for (const name of fs.readdirSync(folder)) {
    try {
      if (isThat(fs.fstatSync(Number(name)))) return fs.openSync(`${folder}/${name}`, 'r')
    } catch (error) {
      // The one that lists the folder is gone by then.
      if (codeOf(error) !== 'EBADF') throw error
    }
  }
  throw new Error('it is not open')
}

/** SQLite has opened another file than was meant. */
export class OtherFileError extends Error {}

/** Throws an {@link OtherFileError} unless that file has been opened since `first` was the next descriptor. Only Linux tells. */
export function refuseOtherFile({ device, inode }: FileIdentity, first: number): void {
  const isThat = (descriptor: number): boolean => {
    try {
      const { dev, ino } = fs.fstatSync(descriptor)
      return dev === device && ino === inode
    } catch {
      return false
    }
  }
  const usual = Array.from({ length: usualCount }, (_, i) => first + i)
  if (usual.some(isThat) || !fs.existsSync(folder)) return
  if (fs.readdirSync(folder).some((name) => isThat(Number(name)))) return
  throw new OtherFileError('another file has taken its place')
}

/** Whether a log with something in it has been opened, whose pages SQLite reads in place of the file's. Only Linux tells. */
export function hasOpenLog(): boolean {
  if (!fs.existsSync(folder)) return false
  return fs.readdirSync(folder).some((name) => {
    try {
      const isLog = /-wal( \(deleted\))?$/.test(fs.readlinkSync(`${folder}/${name}`))
      return isLog && fs.fstatSync(Number(name)).size > 0
    } catch {
      return false
    }
  })
}
