/**
 * The flag that each Node.js process is started with that is not the command itself, which heeds the signal, to pass it on to the
 * program that it runs: with the flag it would not get it. Without it, SIGUSR1 opens Node's debugger on a port that every
 * user of the machine can connect to, and run what he likes as us.
 */
export const withoutDebugger = '--disable-sigusr1'
