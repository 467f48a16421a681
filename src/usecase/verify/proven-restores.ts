/** Remembers how restores went that were tried to prove a replica. */
export class ProvenRestores {
  proven = 0
  failed = 0
  /** When a restore was last proven to be the database, by this process or one before; undefined: it is not known. */
  lastProvenAtMs: number | undefined

  /** A restore was the database at one commit, byte for byte, or it was not. */
  record(outcome: { readonly isProven: boolean; readonly atMs: number }): void {
    if (!outcome.isProven) {
      this.failed += 1
      return
    }
    this.proven += 1
    this.lastProvenAtMs = outcome.atMs
  }
}
