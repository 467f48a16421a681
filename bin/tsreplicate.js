#!/usr/bin/env node
// The version is checked before anything is loaded: better-sqlite3 crashes the process on an older Node.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 22)) {
  process.stderr.write(
    `tsreplicate needs Node.js 22.22 or later, but this is ${process.versions.node}: install a current Node.js and run it again.\n`,
  )
  process.exitCode = 78
} else {
  import('../dist/delivery/cli/start.js')
    .then(({ start }) => start(process.argv.slice(2)))
    .then((exitCode) => {
      process.exitCode = exitCode
    })
}
