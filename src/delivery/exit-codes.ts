/**
 * How the program ends, for whoever starts it. The numbers from 64 on are those of sysexits.h; with `-exec` the end of the
 * program that was started comes first. A test holds docs/errors.md to this table.
 */
export const exitCodes = {
  done: { code: 0, meaning: 'done' },
  failed: {
    code: 1,
    meaning:
      'it failed, or its output could not be written; stderr says why. `status`: the daemon is not ready',
  },
  usage: { code: 2, meaning: 'the command line is wrong' },
  notRunning: {
    code: 3,
    meaning: '`status`: no daemon answers',
  },
  damaged: { code: 65, meaning: '`verify` found damage' },
  bug: { code: 70, meaning: 'a bug of tsreplicate' },
  notStored: {
    code: 74,
    meaning:
      '`replicate` was stopped and could not store everything in time. What is missing is kept locally',
  },
  inUse: {
    code: 75,
    meaning:
      'another process replicates the same database or to the same replica; stderr says which',
  },
  config: {
    code: 78,
    meaning: 'the configuration or the URL of a replica is wrong, or Node.js is too old',
  },
  interrupted: {
    code: 130,
    meaning:
      'a command was interrupted, or `replicate` got a second signal and did not wait for the last sync',
  },
} as const

/** As a shell would say how a program ended, or why it could not be started. */
export const shellExitCodes = { cannotExecute: 126, notFound: 127, killedBySignal: 128 } as const
