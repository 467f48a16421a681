import { codeOf } from '../../kit/error-text.js'
import { openRegularFile } from './regular-files.js'

const magic = Buffer.from('SQLite format 3\0', 'latin1')

/** What a file is by its first bytes. */
export async function kindByContent(file: string): Promise<'database' | 'other' | 'unreadable'> {
  try {
    const handle = await openRegularFile(file)
    try {
      const start = Buffer.alloc(magic.length)
      const { bytesRead } = await handle.read(start, 0, start.length, 0)
      return bytesRead === magic.length && start.equals(magic) ? 'database' : 'other'
    } finally {
      await handle.close()
    }
  } catch (error) {
    const code = codeOf(error)
    return code === 'EACCES' || code === 'EPERM' ? 'unreadable' : 'other'
  }
}
