/**
 * The port to the local memory of uploads under way. A process that is killed leaves the parts of its uploads behind, and
 * some stores show them only to those who know the name of their object.
 */
export interface UploadRecord {
  /** The keys of objects whose upload had begun and is not known to have ended. Absent: none. */
  load(): Promise<readonly string[]>
  /** Puts `keys` in the place of what was recorded, durably. */
  save(keys: readonly string[]): Promise<void>
}
