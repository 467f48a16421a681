/** What is known of a database beyond its settings, and nobody sets: it goes along with its configuration. */
import { type DatabaseConfig } from './config.js'

export interface KnownDatabase extends DatabaseConfig {
  /** The file that `path` leads to, where that was a link when the configuration was read. */
  readonly linkTarget?: string
  /** As root, where the local state lies instead when others can change the folder of `metaPath`; absent: it was named. */
  readonly stateBase?: string
  /** Whether it belongs to a folder in which databases come and go. */
  readonly comesAndGoes?: true
  /** Whether it is usual that another process replicates it, and this one takes over when that one ends. */
  readonly standsBy?: true
}
