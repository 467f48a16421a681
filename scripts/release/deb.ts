/** A .deb of what `layOut` has laid out: the same files below /usr, a configuration in /etc, and what dpkg runs. */
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { configuration } from './layout.ts'
import { type Architecture } from './npm-packages.ts'
import { arArchive, filesIn, writeTarball } from './pack-tree.ts'

const debianNames: Readonly<Record<Architecture, string>> = { x64: 'amd64', arm64: 'arm64' }
const scripts = ['postinst', 'prerm', 'postrm']

/** Of package.json, what the packages say. */
export interface Manifest {
  readonly version: string
  readonly description: string
  readonly author: string
  readonly homepage: string
}

/** `tsreplicate_1.2.3_amd64.deb` */
export function debName({ version }: Manifest, architecture: Architecture): string {
  return `tsreplicate_${debianVersion(version)}_${debianNames[architecture]}.deb`
}

/** A pre-release comes before its release. */
function debianVersion(version: string): string {
  return version.replace('-', '~')
}

/** Moves `laidOut` away; `scratch` is an empty folder. */
export async function writeDeb(
  output: string,
  {
    manifest,
    architecture,
    laidOut,
    scratch,
  }: {
    readonly manifest: Manifest
    readonly architecture: Architecture
    readonly laidOut: string
    readonly scratch: string
  },
): Promise<void> {
  const [data, control] = [join(scratch, 'data'), join(scratch, 'control')]
  mkdirSync(data)
  mkdirSync(control)
  renameSync(laidOut, join(data, 'usr'))
  writeFileSync(join(data, 'usr/share/doc/tsreplicate/copyright'), copyright(manifest))
  renameSync(join(data, 'usr/etc'), join(data, 'etc'))

  const files = filesIn(data)
  for (const name of scripts) cpSync(join('packaging', name), join(control, name))
  const sizeBytes = files.reduce((sum, path) => sum + statSync(join(data, path)).size, 0)
  writeFileSync(join(control, 'control'), controlFile(manifest, { architecture, sizeBytes }))
  writeFileSync(join(control, 'conffiles'), `/${configuration}\n`)
  const sums = files
    .filter((path) => path !== configuration)
    .map((path) => `${md5(join(data, path))}  ${path}\n`)
  writeFileSync(join(control, 'md5sums'), sums.join(''))

  const tarballs = { control: join(scratch, 'control.tar.gz'), data: join(scratch, 'data.tar.gz') }
  await writeTarball(control, { names: ['.'], output: tarballs.control })
  // It may hold secrets.
  const modes = { [configuration]: 0o640 }
  await writeTarball(data, { names: ['.'], output: tarballs.data, modes })
  const archive = arArchive([
    { name: 'debian-binary', content: Buffer.from('2.0\n') },
    { name: 'control.tar.gz', content: readFileSync(tarballs.control) },
    { name: 'data.tar.gz', content: readFileSync(tarballs.data) },
  ])
  writeFileSync(output, archive)
}

/** The libraries are those of the C and C++ runtimes that Node.js is linked with. */
function controlFile(
  { version, description, author, homepage }: Manifest,
  { architecture, sizeBytes }: { readonly architecture: Architecture; readonly sizeBytes: number },
): string {
  const [summary = '', ...more] = description.split(/(?<=\.) /)
  return `Package: tsreplicate
Version: ${debianVersion(version)}
Architecture: ${debianNames[architecture]}
Maintainer: ${author}
Installed-Size: ${Math.ceil(sizeBytes / 1024)}
Depends: libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 8)
Section: database
Priority: optional
Homepage: ${homepage}
Description: ${summary.replace(/\.$/, '')}
 ${more.join(' ')} It brings its own Node.js.
`
}

function copyright({ author, homepage }: Manifest): string {
  const licence = readFileSync('LICENSE', 'utf8')
  return `tsreplicate, ${homepage}\nCopyright: ${author}\nWhat others made of it is in THIRD-PARTY-NOTICES.md and NODE-LICENSE beside this file.\n\n${licence}`
}

function md5(path: string): string {
  return createHash('md5').update(readFileSync(path)).digest('hex')
}
