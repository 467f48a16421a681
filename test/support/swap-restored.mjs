/**
 * Whoever may do so, who puts another database in the place of the file that a restore makes in a folder:
 * node swap-restored.mjs FOLDER DATABASE. Says when it begins, and when it is done.
 */
import { copyFileSync, existsSync, readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { setImmediate } from 'node:timers'

const [folder, database] = process.argv.slice(2)
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
setImmediate(function look() {
  const name = readdirSync(folder).find((each) => each.includes('tsreplicate-restore'))
  const path = name && join(folder, name, 'database.tmp')
  if (path === undefined || !existsSync(path)) {
    setImmediate(look)
    return
  }
  copyFileSync(database, join(folder, 'other'))
  renameSync(join(folder, 'other'), path)
  process.send?.('done')
})
