/** Remembers how the validations of a replica went. */
export class ValidatedRestores {
  valid = 0
  failed = 0
  /** When a restore was last the database, by this process or one before; undefined: it is not known. */
  lastValidatedAtMs: number | undefined

  /** A restore was the database at one commit, byte for byte, or it was not. */
  record(outcome: { readonly isValid: boolean; readonly atMs: number }): void {
    if (!outcome.isValid) {
      this.failed += 1
      return
    }
    this.valid += 1
    this.lastValidatedAtMs = outcome.atMs
  }
}
