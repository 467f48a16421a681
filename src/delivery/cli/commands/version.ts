import { exitCodes } from '../../exit-codes.js'
import { defineCommand } from '../command.js'
import { jsonFlag } from '../flags.js'
import { print, printJson } from '../output.js'
import { version as current } from '../version.js'

export const version = defineCommand({
  name: 'version',
  summary: 'prints the version',
  about: 'Prints the version.',
  example: 'tsreplicate version',
  ignoresArguments: true,
  flags: jsonFlag,
  run(_, { json }) {
    if (json) printJson({ version: current() })
    else print(`${current()}\n`)
    return Promise.resolve(exitCodes.done.code)
  },
})
