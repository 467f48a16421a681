/** The port to the processes of this machine. */
import { type ProcessIdentity } from '../../domain/process-identity.js'

export interface Processes {
  /** This process. */
  readonly self: ProcessIdentity
  /**
   * `unknown`: it is on another machine, or in a container whose processes are not seen from here, or it says nothing by which
   * it could be told from any other process of its number.
   */
  stateOf(process: ProcessIdentity): Promise<'alive' | 'ended' | 'unknown'>
}
