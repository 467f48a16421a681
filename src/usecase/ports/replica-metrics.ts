/** What is asked of a store. A large object is a PUT per part and one for its end; a listing is one LIST however long. */
export type ReplicaOperation = 'PUT' | 'GET' | 'DELETE' | 'LIST'

/** Counts what is asked of one replica. Every attempt counts, also one that fails. */
export interface ReplicaMetrics {
  /** An operation, and the bytes of its body: those that are sent, or 0 where none are known yet. */
  countOperation(operation: ReplicaOperation, bodyBytes: number): void
  /** Bytes of a body that have come. */
  countReadBytes(bytes: number): void
}
