/** What the main thread and the thread that looks at files say to each other. */
export type LookRequest =
  | {
      readonly kind: 'look'
      readonly id: number
      readonly path: string
      /** Where the path leads to. */
      readonly file: string
      readonly before: string
      readonly intervalMs: number
    }
  | { readonly kind: 'forget'; readonly id: number }

/** The files of this look are no longer as they were; it is forgotten. */
export interface LookReply {
  readonly id: number
}
