/** Another user, who puts a log beside whatever a restore or verify makes in a folder: node plant-beside.mjs FOLDER WAL. */
import { copyFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { setImmediate } from 'node:timers'

const [folder, wal] = process.argv.slice(2)
const tryTo = (act) => {
  try {
    return act()
  } catch {
    return undefined
  }
}
process.send?.('ready')
process.on('disconnect', () => process.exit(0))
setImmediate(function look() {
  for (const name of readdirSync(folder).filter((each) =>
    /tsreplicate-(restore|verify)/.test(each),
  )) {
    const path = join(folder, name)
    for (const inside of tryTo(() => readdirSync(path)) ?? []) {
      tryTo(() => copyFileSync(wal, `${join(path, inside)}-wal`))
    }
    if (!name.endsWith('-wal')) tryTo(() => copyFileSync(wal, `${path}-wal`))
  }
  setImmediate(look)
})
