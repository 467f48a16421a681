import { configFlags } from './flags.js'

/** Which daemon a command asks. */
export const daemonFlags = {
  socket: { value: 'path', description: 'ask the daemon that has made this socket file' },
  ...configFlags,
} as const
