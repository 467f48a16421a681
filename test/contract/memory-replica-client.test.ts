import { MemoryReplicaClient } from '../support/memory-replica-client.js'
import { describeReplicaClient } from './replica-client.contract.js'

describeReplicaClient('memory', () => {
  const client = new MemoryReplicaClient()
  return Promise.resolve({
    client,
    putForeign: (path, bytes) => {
      client.objects.set(path, { bytes, createdAtMs: Date.now() })
      return Promise.resolve()
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  })
})
