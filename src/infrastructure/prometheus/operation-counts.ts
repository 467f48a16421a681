import { type ReplicaMetrics, type ReplicaOperation } from '../../usecase/ports/replica-metrics.js'
import { type MetricInfo, type Sample } from './metric-table.js'

type Counts = Record<ReplicaOperation, number>

class TypeCounts implements ReplicaMetrics {
  readonly operations: Counts = { PUT: 0, GET: 0, DELETE: 0, LIST: 0 }
  readonly bytes: Pick<Counts, 'PUT' | 'GET'> = { PUT: 0, GET: 0 }

  countOperation(operation: ReplicaOperation, bodyBytes: number): void {
    this.operations[operation] += 1
    if (operation === 'PUT') this.bytes.PUT += bodyBytes
  }

  countReadBytes(bytes: number): void {
    this.bytes.GET += bytes
  }
}

export class OperationCounts {
  readonly #types = new Map<string, TypeCounts>()

  readonly metrics: readonly MetricInfo[] = [
    {
      name: 'litestream_replica_operation_total',
      help: 'Operations asked of stores.',
      type: 'counter',
      labels: ['replica_type', 'operation'],
      samples: () => this.#samples(({ operations }) => operations),
    },
    {
      name: 'litestream_replica_operation_bytes',
      help: 'Bytes sent to and read from stores.',
      type: 'counter',
      labels: ['replica_type', 'operation'],
      samples: () => this.#samples(({ bytes }) => bytes),
    },
  ]

  of(type: string): ReplicaMetrics {
    const counts = this.#types.get(type) ?? new TypeCounts()
    this.#types.set(type, counts)
    return counts
  }

  *#samples(counts: (of: TypeCounts) => Readonly<Record<string, number>>): Iterable<Sample> {
    for (const [type, ofType] of this.#types) {
      for (const [operation, count] of Object.entries(counts(ofType))) {
        yield [{ replica_type: type, operation }, count]
      }
    }
  }
}
