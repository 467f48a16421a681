/**
 * The flag that each Node.js process of ours is started with: without it, SIGUSR1 opens Node's debugger on a port that every
 * user of the machine can connect to, and run what he likes as us.
 */
export const withoutDebugger = '--disable-sigusr1'
