/**
 * Which file SQLite has opened. It opens by name, and does not tell: the descriptors do. Whoever takes a file's name away for
 * that moment would have another one opened.
 */
import fs from 'node:fs'
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

/** Throws unless that file has been opened since `first` was the next descriptor. Only Linux tells. */
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
  throw new Error('another file has taken its place')
}
