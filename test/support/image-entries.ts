import { type ImageEntries } from '../../src/infrastructure/image/file-image.js'

const built = (name: string): URL =>
  new URL(`../../dist/compose/threads/${name}.js`, import.meta.url)

/** The built modules that threads and processes of a restore run, whose own code is that of the sources. */
export const imageEntries: ImageEntries = {
  thread: built('restore-thread'),
  check: built('check-process'),
}
