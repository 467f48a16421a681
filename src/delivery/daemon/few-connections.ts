import { type Server } from 'node:http'
import { type Socket } from 'node:net'

const maxConnections = 64

/**
 * The connections of a server. Where there are too many, a new one takes the place of the one that has done nothing for the longest
 * time: that asks nothing, or does not take its answer. One that waits for its answer is the last to go. So there is always room
 * for a probe.
 */
export class FewConnections {
  /** The first has done nothing for the longest time. */
  readonly #still = new Set<Socket>()
  readonly #waiting = new Set<Socket>()

  constructor(server: Server) {
    server.on('connection', (socket: Socket) => {
      if (this.#still.size + this.#waiting.size >= maxConnections) this.#endOldest()
      this.#still.add(socket)
      socket.once('close', () => this.#forget(socket))
    })
  }

  /** It has asked something, and there is no answer yet. */
  waits(socket: Socket): void {
    this.#forget(socket)
    if (!socket.destroyed) this.#waiting.add(socket)
  }

  /** It has its answer, or took a part of it. */
  moves(socket: Socket): void {
    this.#forget(socket)
    if (!socket.destroyed) this.#still.add(socket)
  }

  #endOldest(): void {
    const [oldest] = this.#still.size > 0 ? this.#still : this.#waiting
    if (oldest === undefined) return
    this.#forget(oldest)
    oldest.destroy()
  }

  #forget(socket: Socket): void {
    this.#still.delete(socket)
    this.#waiting.delete(socket)
  }
}
