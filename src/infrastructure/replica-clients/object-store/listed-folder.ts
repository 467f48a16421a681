/** What a store's listing of a folder shows, and which generations, snapshots and segments are in it. Foreign names are passed over. */
import { type Generation, parseGeneration } from '../../../domain/wal/generation.js'
import { isBefore, type WalPosition } from '../../../domain/wal/position.js'
import {
  parseSnapshotName,
  parseWalSegmentName,
  type SnapshotRef,
  type WalSegmentRef,
} from '../../../domain/stored/replica-layout.js'

/** Facts that a listing tells of an object. */
interface ListedFacts {
  readonly sizeBytes: number
  readonly createdAtMs: number
}

export interface ListedObject extends ListedFacts {
  readonly name: string
}

/** A page of the listing of a folder as the store has it: whole names, and with a slash at the end those of folders. */
export interface ListedPage {
  readonly objects: readonly ListedObject[]
  readonly folders: readonly string[]
}

/** What a page shows, by the names that things have in the folder. */
export interface ListedFolder {
  /** Those right in it, by their names without the folder. */
  readonly objects: readonly ListedObject[]
  /** Names of the folders right in it, without slashes. */
  readonly folders: readonly string[]
}

export function listedFolder(folder: string, page: ListedPage): ListedFolder {
  const inFolder = (name: string): string => name.slice(folder.length)
  return {
    objects: page.objects
      .filter(({ name }) => name.startsWith(folder))
      .map((object) => ({ ...object, name: inFolder(object.name) })),
    folders: page.folders.map((name) => inFolder(name).replace(/\/$/, '')),
  }
}

/** `seen` are those of the pages before: some stores show a folder again when its objects fill several pages. */
export function* generationsIn(
  { folders }: ListedFolder,
  seen: Set<Generation>,
): Iterable<Generation> {
  for (const name of folders) {
    const generation = parseGeneration(name)
    if (generation === undefined || seen.has(generation)) continue
    seen.add(generation)
    yield generation
  }
}

export function* snapshotsIn(
  { objects }: ListedFolder,
  generation: Generation,
): Iterable<SnapshotRef & ListedFacts> {
  for (const { name, ...facts } of objects) {
    const index = parseSnapshotName(name)
    if (index !== undefined) yield { kind: 'snapshot', generation, index, ...facts }
  }
}

export function* walSegmentsIn(
  { objects }: ListedFolder,
  generation: Generation,
  from: WalPosition | undefined,
): Iterable<WalSegmentRef & ListedFacts> {
  for (const { name, ...facts } of objects) {
    const place = parseWalSegmentName(name)
    if (place === undefined || isBefore(place, from)) continue
    yield { kind: 'wal-segment', generation, ...place, ...facts }
  }
}
