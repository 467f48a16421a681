/**
 * How the program ends, for whoever starts it. The numbers from 64 on are those of sysexits.h; with `-exec` the end of the
 * program that was started comes first. What they mean is for every command; what they mean with one of them is said with it.
 */
export const exitCodes = {
  done: { code: 0, meaning: 'done' },
  failed: { code: 1, meaning: 'it failed, or its output could not be written; stderr says why' },
  usage: { code: 2, meaning: 'the command line is wrong' },
  notRunning: { code: 3, meaning: undefined },
  damaged: { code: 65, meaning: undefined },
  checkTimeout: { code: 69, meaning: 'what was restored could not be checked in time' },
  bug: { code: 70, meaning: 'a bug of tsreplicate' },
  notStored: { code: 74, meaning: undefined },
  inUse: {
    code: 75,
    meaning:
      'another process replicates the same database or to the same replica; stderr says which',
  },
  config: {
    code: 78,
    meaning:
      'the configuration or the URL of a replica is wrong, or what runs it is not Node.js, or too old',
  },
  interrupted: { code: 130, meaning: 'it was interrupted' },
} as const

export type ExitCodeName = keyof typeof exitCodes

/** As a shell would say how a program ended, or why it could not be started. */
export const shellExitCodes = { cannotExecute: 126, notFound: 127, killedBySignal: 128 } as const
