import { realpath, stat, statfs } from 'node:fs/promises'
import { type FileSystemInfo, type LocalDisk } from '../../usecase/ports/local-disk.js'

export const nodeDisk: LocalDisk = {
  async fileBytes(path: string): Promise<number | undefined> {
    try {
      return (await stat(path)).size
    } catch {
      return undefined
    }
  },

  async walBytes(databasePath: string): Promise<number | undefined> {
    try {
      return (await stat(`${await realpath(databasePath)}-wal`)).size
    } catch {
      return undefined
    }
  },

  async fileSystem(folder: string): Promise<FileSystemInfo | undefined> {
    try {
      const { dev } = await stat(folder)
      const { bsize, blocks, bfree, bavail } = await statfs(folder)
      return {
        id: String(dev),
        usedBytes: (blocks - bfree) * bsize,
        availableBytes: bavail * bsize,
      }
    } catch {
      return undefined
    }
  },
}
