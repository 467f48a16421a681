/**
 * Names of stored objects, which are Litestream v0.3's, unchanged. Nothing else knows them:
 *
 *     generations/<generation>/snapshots/<index>.snapshot.lz4
 *     generations/<generation>/wal/<index>_<offset>.wal.lz4
 *
 * Beside `generations`, where Litestream does not look, lies the object that names the replica's writer.
 *
 * Index and offset are 8 lower-case hex digits. A reader takes offsets of up to 16 digits (they occur past 4 GiB); we
 * never write them, because the original does not list them.
 */
import { type Generation } from '../wal/generation.js'
import { formatIndex, parseIndex } from '../wal/position.js'

/** Names a snapshot: the index from whose offset 0 it is to be replayed. */
export interface SnapshotRef {
  readonly kind: 'snapshot'
  readonly generation: Generation
  readonly index: number
}

/** Names a WAL segment: the position of its first byte. */
export interface WalSegmentRef {
  readonly kind: 'wal-segment'
  readonly generation: Generation
  readonly index: number
  readonly offset: number
}

export type ObjectRef = SnapshotRef | WalSegmentRef

/** The object that names the replica's writer, relative to the replica's root. */
export const ownerObjectName = 'tsreplicate-owner.json'

/** The folder, relative to the replica's root, whose folders are the generations. */
export const generationsFolder = 'generations'

export function generationFolder(generation: Generation): string {
  return `${generationsFolder}/${generation}`
}

export function objectFolder(generation: Generation, kind: ObjectRef['kind']): string {
  return `${generationFolder(generation)}/${kind === 'snapshot' ? 'snapshots' : 'wal'}`
}

/** `<index>.snapshot.lz4` */
export function formatSnapshotName(index: number): string {
  return `${formatIndex(index)}.snapshot.lz4`
}

/** The index in a snapshot's name, or undefined if it is no such name. */
export function parseSnapshotName(name: string): number | undefined {
  const match = /^([0-9a-f]{8})\.snapshot\.lz4$/.exec(name)
  return match?.[1] === undefined ? undefined : parseIndex(match[1])
}

/** `<index>_<offset>.wal.lz4` */
export function formatWalSegmentName(place: { index: number; offset: number }): string {
  return `${formatWalSegmentPlace(place)}.wal.lz4`
}

/** `<index>_<offset>`: comes before the name of the segment there in any order by name, and behind those before it. */
export function formatWalSegmentPlace(place: { index: number; offset: number }): string {
  return `${formatIndex(place.index)}_${formatIndex(place.offset)}`
}

/** Index and offset in a segment's name, or undefined if it is no such name. */
export function parseWalSegmentName(name: string): { index: number; offset: number } | undefined {
  const match = /^([0-9a-f]{8})_([0-9a-f]{8,16})\.wal\.lz4$/.exec(name)
  if (match?.[1] === undefined || match[2] === undefined) return undefined
  if (match[2].length > 8 && match[2].startsWith('0')) return undefined
  const index = Number.parseInt(match[1], 16)
  const offset = Number.parseInt(match[2], 16)
  return Number.isSafeInteger(offset) ? { index, offset } : undefined
}

/** The object's path relative to the replica's root, with forward slashes. */
export function formatObjectPath(ref: ObjectRef): string {
  const name = ref.kind === 'snapshot' ? formatSnapshotName(ref.index) : formatWalSegmentName(ref)
  return `${objectFolder(ref.generation, ref.kind)}/${name}`
}
