/** These tests drive the built program: a build that is missing, or older than the sources, is said before the first of them. */
import { globSync, statSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')

export default function setup(): void {
  const built = statSync(join(root, 'dist/index.js'), { throwIfNoEntry: false })
  if (built === undefined) throw new Error('there is no dist: run "npm run build" first')
  const changed = globSync('src/**/*.ts', { cwd: root }).find(
    (path) => statSync(join(root, path)).mtimeMs > built.mtimeMs,
  )
  if (changed !== undefined)
    throw new Error(`dist is older than ${changed}: run "npm run build" first`)
}
