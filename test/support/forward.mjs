// Carries TCP connections from one address to another: `node forward.mjs LISTEN-HOST LISTEN-PORT HOST PORT`.
import { connect, createServer } from 'node:net'
import process from 'node:process'

const [listenHost, listenPort, host, port] = process.argv.slice(2)
const server = createServer((client) => {
  const target = connect({ host, port: Number(port) })
  for (const [one, other] of [
    [client, target],
    [target, client],
  ]) {
    one.pipe(other)
    one.on('error', () => other.destroy())
    one.on('close', () => other.destroy())
  }
})
server.listen({ host: listenHost, port: Number(listenPort) }, () =>
  process.stdout.write('listening\n'),
)
