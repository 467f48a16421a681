/**
 * Where things lie in an archive and, below /usr, on a machine that has the .deb:
 *
 *     bin/tsreplicate                  starts it
 *     lib/tsreplicate/node             the Node.js that it runs with
 *     lib/tsreplicate/…                the npm package, and the two addons for this platform
 *     lib/systemd/system/              the unit
 *     etc/tsreplicate.yml              a configuration to begin with; of the .deb, in /etc
 *     share/man, share/…-completion…   from what the commands say of themselves
 *     share/doc/tsreplicate/           documents, the sample configuration, licences
 */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Architecture, fetchLocked, fetchRuntime, runtimeVersion } from './npm-packages.ts'

export const configuration = 'etc/tsreplicate.yml'

/** Of the npm package, what a program needs; types and documents lie elsewhere, or nowhere. */
const isProgram = (path: string): boolean => !path.endsWith('.d.ts')

/** Lays out all of it in a folder; `scratch` is for what is fetched. */
export function layOut(
  folder: string,
  { architecture, scratch }: { readonly architecture: Architecture; readonly scratch: string },
): void {
  const put = (from: string, to: string, filter?: (path: string) => boolean): void => {
    mkdirSync(dirname(join(folder, to)), { recursive: true })
    cpSync(from, join(folder, to), { recursive: true, ...(filter === undefined ? {} : { filter }) })
  }
  const runtime = fetchRuntime(architecture, scratch)
  put(join(runtime, 'bin/node'), 'lib/tsreplicate/node')
  put('packaging/tsreplicate', 'bin/tsreplicate')
  for (const name of ['bin', 'dist', 'systemd', 'package.json']) {
    put(join('package', name), `lib/tsreplicate/${name}`, isProgram)
  }
  putAddons(put, { architecture, scratch })
  put('package/systemd/tsreplicate.service', 'lib/systemd/system/tsreplicate.service')
  put('packaging/tsreplicate.yml', configuration)
  put('package/man', 'share/man/man1')
  put('package/completions/tsreplicate', 'share/bash-completion/completions/tsreplicate')
  put('package/completions/_tsreplicate', 'share/zsh/vendor-completions/_tsreplicate')
  put('package/completions/tsreplicate.fish', 'share/fish/vendor_completions.d/tsreplicate.fish')
  for (const name of ['README.md', 'LICENSE', 'docs', 'config']) {
    put(join('package', name), `share/doc/tsreplicate/${name}`)
  }
  put(join(runtime, 'LICENSE'), 'share/doc/tsreplicate/NODE-LICENSE')
  writeFileSync(join(folder, 'share/doc/tsreplicate/THIRD-PARTY-NOTICES.md'), notices())
}

type Put = (from: string, to: string) => void

function putAddons(
  put: Put,
  { architecture, scratch }: { readonly architecture: Architecture; readonly scratch: string },
): void {
  const sqlite = ['lib', 'package.json', 'LICENSE', `prebuilds/linux-${architecture}.node`]
  const lz4 = ['index.js', 'package.json', 'LICENSE']
  const files = { 'better-sqlite3': sqlite, 'lz4-napi': lz4 }
  for (const [name, paths] of Object.entries(files)) {
    for (const path of paths) {
      put(join('node_modules', name, path), `lib/tsreplicate/node_modules/${name}/${path}`)
    }
  }
  const native = `@antoniomuso/lz4-napi-linux-${architecture}-gnu`
  put(fetchLocked(native, scratch), `lib/tsreplicate/node_modules/${native}`)
}

function notices(): string {
  const bundled = readFileSync('package/THIRD-PARTY-NOTICES.md', 'utf8')
  return `${bundled}
## Beside these files

- Node.js ${runtimeVersion}, in \`lib/tsreplicate/node\`: NODE-LICENSE beside this file, which also has the licences of what is in it.
- better-sqlite3 and lz4-napi, in \`lib/tsreplicate/node_modules\`: the file LICENSE of each. better-sqlite3 contains SQLite, which is in the
  public domain.
`
}
