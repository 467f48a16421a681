/**
 * Where a wrapper passes on what it does not change. Every member of the port stands here once: one that is new, optional
 * or not, has to be passed on here too, or this does not compile.
 */
import { type ObjectUpload, type ReplicaClient } from '../../../usecase/ports/replica-client.js'

/** What is asked of a store and comes to one answer, the steps of an upload included. */
export type Call =
  'startUpload' | 'sendPart' | 'finish' | 'delete' | 'readOwner' | 'writeOwner' | 'sweep'

/** What is asked of a store and answered bit by bit. */
export type Stream = 'listGenerations' | 'listSnapshots' | 'listWalSegments' | 'read'

export interface Around {
  /** What is done around a call; absent: nothing. */
  readonly call?: <T>(action: () => Promise<T>, name: Call, signal: AbortSignal) => Promise<T>
  readonly stream?: <T>(
    start: () => AsyncIterable<T>,
    name: Stream,
    signal: AbortSignal,
  ) => AsyncIterable<T>
}

/** A client that does what `client` does, with something around each call. */
export function around(
  client: ReplicaClient,
  { call = (action) => action(), stream = (start) => start() }: Around = {},
): Required<ReplicaClient> {
  return {
    type: client.type,
    location: client.location,
    isEncrypted: client.isEncrypted,
    listGenerations: (signal) =>
      stream(() => client.listGenerations(signal), 'listGenerations', signal),
    listSnapshots: (generation, signal) =>
      stream(() => client.listSnapshots(generation, signal), 'listSnapshots', signal),
    listWalSegments: (generation, signal, options) =>
      stream(() => client.listWalSegments(generation, signal, options), 'listWalSegments', signal),
    startUpload: (ref, options, signal) => {
      const start = async (): Promise<ObjectUpload> => {
        const upload = await client.startUpload(ref, options, signal)
        return aroundUpload(upload, {
          sendPart: (part) => call(() => upload.sendPart(part), 'sendPart', signal),
          finish: () => call(() => upload.finish(), 'finish', signal),
        })
      }
      return call(start, 'startUpload', signal)
    },
    read: (ref, range, signal) => stream(() => client.read(ref, range, signal), 'read', signal),
    // What they ask of a store, if anything, they ask by `read`.
    contentBytes: (object, signal) => client.contentBytes(object, signal),
    isMarked: (object, signal) => client.isMarked(object, signal),
    delete: (refs, signal) => call(() => client.delete(refs, signal), 'delete', signal),
    readOwner: (signal) => call(() => client.readOwner(signal), 'readOwner', signal),
    writeOwner: (owner, signal) =>
      call(() => client.writeOwner(owner, signal), 'writeOwner', signal),
    sweep: (signal) => call(() => client.sweep(signal), 'sweep', signal),
  }
}

/** An upload that does what `upload` does, but for `changed`. */
export function aroundUpload(
  upload: ObjectUpload,
  changed: Partial<ObjectUpload>,
): Required<ObjectUpload> {
  return {
    partSizeBytes: upload.partSizeBytes,
    maxConcurrentParts: upload.maxConcurrentParts,
    isWhole: upload.isWhole,
    storedBytes: (contentBytes) => upload.storedBytes(contentBytes),
    sendPart: (part) => upload.sendPart(part),
    finish: () => upload.finish(),
    [Symbol.asyncDispose]: () => upload[Symbol.asyncDispose](),
    ...changed,
  }
}
