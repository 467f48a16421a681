/** The library of the package under test, for programs that tests start (see `packageUnderTest` in cli.ts). */
import process from 'node:process'

const folder = process.env.TSREPLICATE_TEST_PACKAGE
export const library = await import(
  folder === undefined ? 'tsreplicate' : `file://${folder}/dist/index.js`
)
