/** The port to the form in which metrics are asked for. */
import { type DaemonStatus } from '../../domain/status.js'

export interface MetricsText {
  /** For HTTP. */
  readonly contentType: string
  readonly text: string
}

export interface MetricsFormat {
  format(status: DaemonStatus): Promise<MetricsText>
}
