import { type Environment } from './environment.js'
import { type PathContext } from './paths.js'

/** What of the surroundings a configuration depends on. */
export interface ConfigContext extends PathContext {
  readonly env: Environment
}

/** What the parts of a configuration share while they are read. */
export interface ReadContext extends ConfigContext {
  /** Of the whole configuration, for replicas without their own. */
  readonly accessKeyId: string | undefined
  readonly secretAccessKey: string | undefined
  /** Where local state is that others must not reach. */
  readonly stateBase: string
  /** Where replicas are, each with the path of its entry. */
  readonly places: Map<string, string>
  /** What the operator should know though it is valid; once is enough. */
  readonly warnings: Set<string>
}
