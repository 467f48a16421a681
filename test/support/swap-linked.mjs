/**
 * Whoever may write to the folder of a replica, who puts another name of a file in the place of each that gets a name there:
 * node swap-linked.mjs FOLDER FILE. Says when it begins, and each time.
 */
import { linkSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { setImmediate } from 'node:timers'

const [folder, file] = process.argv.slice(2)
const other = join(folder, 'other')
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
setImmediate(function look() {
  for (const name of readdirSync(folder).filter((each) => each.endsWith('.tsr.tmp'))) {
    try {
      linkSync(file, other)
      renameSync(other, join(folder, name))
      process.send?.('done')
    } catch {
      rmSync(other, { force: true })
    }
  }
  setImmediate(look)
})
