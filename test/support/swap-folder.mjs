/** Another user, who puts a folder of his own in the place of whatever a restore or verify makes in a folder: node swap-folder.mjs FOLDER DATABASE. */
import { copyFileSync, mkdirSync, readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { setImmediate } from 'node:timers'

const [folder, database] = process.argv.slice(2)
let count = 0
process.send?.('ready')
process.on('disconnect', () => process.exit(0))
setImmediate(function look() {
  for (const name of readdirSync(folder).filter((each) =>
    /tsreplicate-(restore|verify)/.test(each),
  )) {
    const path = join(folder, name)
    try {
      renameSync(path, join(folder, `moved-${(count += 1)}`))
      mkdirSync(path)
      copyFileSync(database, join(path, 'database.tmp'))
    } catch {
      // It has just gone.
    }
  }
  if (count < 20) setImmediate(look)
})
