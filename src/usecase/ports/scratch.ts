/** The port to room on a disk for a restore that is only a test. */
export interface ScratchSpace {
  /**
   * An empty folder of its own; what a crashed process has left is removed first. Throws {@link OutputError} when there
   * is no room for `neededBytes` and a reserve.
   */
  open(neededBytes: number): Promise<ScratchFolder>
}

/** Removed with everything in it when it is disposed of. */
export interface ScratchFolder extends AsyncDisposable {
  readonly path: string
}
