import { type ObjectPart, type ReplicaClient } from '../../../usecase/ports/replica-client.js'
import { type ReplicaMetrics } from '../../../usecase/ports/replica-metrics.js'
import { around, aroundUpload } from './around-client.js'

/** Counts what is asked of a store. Stands inside the retries, so that each attempt is seen. */
export function countOperations(client: ReplicaClient, metrics: ReplicaMetrics): ReplicaClient {
  return {
    ...around(client, {
      stream: async function* (start, name) {
        metrics.countOperation(name === 'read' ? 'GET' : 'LIST', 0)
        for await (const each of start()) {
          if (each instanceof Uint8Array) metrics.countReadBytes(each.byteLength)
          yield each
        }
      },
    }),
    async startUpload(ref, options, signal) {
      const upload = await client.startUpload(ref, options, signal)
      // The body of an object of one part goes up when it is finished.
      let onlyPartBytes = upload.isWhole ? options.expectedBytes : 0
      return aroundUpload(upload, {
        sendPart: (part: ObjectPart) => {
          if (part.last && part.number === 0) onlyPartBytes = part.bytes.byteLength
          else metrics.countOperation('PUT', part.bytes.byteLength)
          return upload.sendPart(part)
        },
        finish: () => {
          metrics.countOperation('PUT', onlyPartBytes)
          return upload.finish()
        },
      })
    },
    delete(refs, signal) {
      for (let i = 0; i < refs.length; i += 1) metrics.countOperation('DELETE', 0)
      return client.delete(refs, signal)
    },
    async readOwner(signal) {
      metrics.countOperation('GET', 0)
      const owner = await client.readOwner(signal)
      if (owner !== undefined) metrics.countReadBytes(Buffer.byteLength(owner.content))
      return owner
    },
    writeOwner(owner, signal) {
      metrics.countOperation('PUT', Buffer.byteLength(owner.content))
      return client.writeOwner(owner, signal)
    },
    sweep(signal) {
      metrics.countOperation('LIST', 0)
      return client.sweep(signal)
    },
  }
}
