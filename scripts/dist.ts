/**
 * `npm run dist`: makes what needs no Node.js and no npm where it is installed: for each architecture an archive that can be
 * unpacked anywhere and a .deb, and the sums of all. Of one commit it makes the same bytes, whoever runs it and when. It takes
 * the folder `package` (`npm run bundle`), npm, GNU tar and gzip.
 *
 *     --architecture x64     only this one
 *     --output FOLDER        instead of `archives`
 */
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { debName, type Manifest, writeDeb } from './release/deb.ts'
import { layOut } from './release/layout.ts'
import { type Architecture, architectures } from './release/npm-packages.ts'
import { writeTarball } from './release/pack-tree.ts'

const { values } = parseArgs({
  options: {
    architecture: { type: 'string' },
    output: { type: 'string', default: 'archives' },
  },
})
const target = values.output
const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest

async function makeArchives(architecture: Architecture): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'tsreplicate-dist-'))
  try {
    const fetched = join(work, 'fetched')
    const scratch = join(work, 'deb')
    for (const folder of [fetched, scratch]) mkdirSync(folder)
    const name = `tsreplicate-${manifest.version}-linux-${architecture}`
    const laidOut = join(work, name)
    layOut(laidOut, { architecture, scratch: fetched })
    await writeTarball(work, { names: [name], output: join(target, `${name}.tar.gz`) })
    await writeDeb(join(target, debName(manifest, architecture)), {
      manifest,
      architecture,
      laidOut,
      scratch,
    })
  } finally {
    rmSync(work, { recursive: true })
  }
}

/** All of it is removed first. */
function refuseForeign(folder: string): void {
  const names = existsSync(folder) ? readdirSync(folder) : []
  if (names.length === 0 || names.includes('SHA256SUMS')) return
  throw new Error(`${folder} has files that this did not make: name another folder with --output`)
}

const wanted = architectures.filter((each) => each === (values.architecture ?? each))
if (wanted.length === 0) throw new Error(`there is no Node.js for ${values.architecture ?? ''}`)
refuseForeign(target)
rmSync(target, { recursive: true, force: true })
mkdirSync(target)
for (const architecture of wanted) await makeArchives(architecture)
const sums = readdirSync(target)
  .sort()
  .map((name) => {
    const sum = createHash('sha256')
      .update(readFileSync(join(target, name)))
      .digest('hex')
    return `${sum}  ${name}\n`
  })
writeFileSync(join(target, 'SHA256SUMS'), sums.join(''))
process.stdout.write(sums.join(''))
