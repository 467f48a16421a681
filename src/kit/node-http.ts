/**
 * Node's `http`. A module that imports it gets all that it exports read, and with that Node's WebSocket and the client that
 * is behind `fetch`: 13 MiB of memory.
 */
export const http = process.getBuiltinModule('node:http')
