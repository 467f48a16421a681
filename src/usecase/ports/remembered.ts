/** The port to one thing that the local state remembers of a replica from one process to the next. */
export interface Remembered<T> {
  /** Undefined: nothing, or nothing that can be understood. Throws {@link LocalStateError}. */
  load(signal: AbortSignal): Promise<T | undefined>
  /** Puts `value` in the place of what was remembered, durably. Throws {@link LocalStateError}. */
  save(value: T, signal: AbortSignal): Promise<void>
}
