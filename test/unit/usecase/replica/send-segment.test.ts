/** A segment takes no other's place, and one that is there already is stored. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateX25519Identity, identityToRecipient } from 'age-encryption'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ObjectExistsError } from '../../../../src/domain/errors.js'
import { formatGeneration } from '../../../../src/domain/wal/generation.js'
import { formatObjectPath } from '../../../../src/domain/stored/replica-layout.js'
import { createLz4Compressor } from '../../../../src/infrastructure/lz4/frame-encoder.js'
import { openSystemProcesses } from '../../../../src/infrastructure/processes/system-processes.js'
import { encryptObjects } from '../../../../src/infrastructure/replica-clients/age/encrypt-objects.js'
import { FolderSpool } from '../../../../src/infrastructure/spool/folder-spool.js'
import { type ReplicaClient } from '../../../../src/usecase/ports/replica-client.js'
import { type SpooledSegment } from '../../../../src/usecase/ports/spool.js'
import { sendSegment, type StoredSent } from '../../../../src/usecase/replica/send-segment.js'
import { MemoryReplicaClient } from '../../../support/memory-replica-client.js'

const generation = formatGeneration(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
const path = formatObjectPath({ kind: 'wal-segment', generation, index: 0, offset: 0 })
const compressor = await createLz4Compressor()
const recipients = [await identityToRecipient(await generateX25519Identity())]
const { signal } = new AbortController()
let folders: string[]

beforeEach(() => {
  folders = []
})

afterEach(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** A segment of a history: those of two have the same name and size. */
async function spooled(
  history: number,
): Promise<{ readonly spool: FolderSpool; readonly segment: SpooledSegment }> {
  const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-test-'))
  folders.push(folder)
  const spool = new FolderSpool({ path: folder, processes: await openSystemProcesses() })
  await spool.open(signal)
  await spool.beginGeneration({ generation, identity: { device: 1, inode: 2 } }, signal)
  await using writer = await spool.startSegment({ index: 0, offset: 0 }, signal)
  const encoder = compressor.startFrame()
  await writer.write(encoder.header())
  await writer.write(encoder.block(new Uint8Array(536).fill(history)))
  await writer.write(encoder.end())
  const segment = await writer.finish({
    ...{ kind: 'wal-segment', generation, index: 0, startOffset: 0, endOffset: 568 },
    ...{ pageSizeBytes: 512, bigEndian: false, databaseSizePages: 3 },
    salts: { salt1: 1, salt2: 2 },
    checksumBefore: { s0: 0, s1: 0 },
    checksumAfter: { s0: history, s1: 0 },
    captures: [{ endOffset: 568, timeMs: 1000 }],
    previousIndexEnd: undefined,
    source: undefined,
  })
  return { spool, segment }
}

describe.each<[string, (memory: MemoryReplicaClient) => ReplicaClient]>([
  ['readable', (memory) => memory],
  [
    'encrypted, without an identity',
    (memory) => encryptObjects(memory, { recipients, identities: [] }),
  ],
])('on a replica that is %s', (_, open) => {
  test('a segment whose answer was lost is stored; one of another history keeps its place', async () => {
    const memory = new MemoryReplicaClient()
    const client = open(memory)
    const ours = await spooled(1)
    const theirs = await spooled(2)
    expect(theirs.segment.sizeBytes).toBe(ours.segment.sizeBytes)
    const send = ({ spool, segment }: typeof ours): Promise<StoredSent> =>
      sendSegment({ client, spool, isNew: true }, segment, signal)
    const { storedBytes, wasThere } = await send(ours)
    expect(wasThere).toBe(false)
    const object = memory.objects.get(path)
    await expect(send(ours)).resolves.toEqual({ storedBytes, wasThere: true })
    await expect(send(theirs)).rejects.toBeInstanceOf(ObjectExistsError)
    expect(memory.objects.get(path)).toBe(object)
    // What the store has lost or cut short is replaced.
    await sendSegment({ client, spool: theirs.spool, isNew: false }, theirs.segment, signal)
    expect(memory.objects.get(path)).not.toBe(object)
    await ours.spool[Symbol.asyncDispose]()
    await theirs.spool[Symbol.asyncDispose]()
  })
})
