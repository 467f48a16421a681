import { type Generation } from './generation.js'

/**
 * A place in a generation's WALs: the ordinal of the WAL and a byte offset in it, on a frame boundary (or 0).
 * Totally ordered within a generation, not across.
 */
export interface WalPosition {
  /** Which WAL of the generation, from 0 on. */
  readonly index: number
  /** Bytes from the start of that WAL. */
  readonly offset: number
}

/** How far something has got: a {@link WalPosition} and the generation it belongs to. */
export interface Position extends WalPosition {
  /** The history that the WAL is of. */
  readonly generation: Generation
}

/** Below zero when `a` lies before `b`, zero when they are the same place, above zero otherwise. */
export function comparePositions(a: WalPosition, b: WalPosition): number {
  return a.index - b.index || a.offset - b.offset
}

/** Whether a place lies before what is wanted; undefined: all is. */
export function isBefore(place: WalPosition, from: WalPosition | undefined): boolean {
  return from !== undefined && comparePositions(place, from) < 0
}

/** `<generation>/<index in 8 hex digits>:<offset in decimal>`, as the original prints it. */
export function formatPosition(position: Position): string {
  return `${position.generation}/${formatWalPosition(position)}`
}

/** `<index in 8 hex digits>:<offset in decimal>`. */
export function formatWalPosition(position: WalPosition): string {
  return `${formatIndex(position.index)}:${String(position.offset)}`
}

/** An index in 8 (or, past 32 bits, more) lower-case hex digits. */
export function formatIndex(index: number): string {
  return index.toString(16).padStart(8, '0')
}

/** The index that 8 lower-case hex digits name, or undefined. */
export function parseIndex(text: string): number | undefined {
  return /^[0-9a-f]{8}$/.test(text) ? Number.parseInt(text, 16) : undefined
}

/** The first index that cannot be used: the original keeps indexes in a signed 32-bit integer. */
export const maxIndex = 0x7fff_ffff
