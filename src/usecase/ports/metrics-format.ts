/** The port to the form in which metrics are asked for. */
import { type DaemonStatus } from '../../domain/status.js'

export interface MetricsFormat {
  /** For HTTP. */
  readonly contentType: string
  format(status: DaemonStatus): Promise<string>
}
