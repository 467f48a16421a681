/** The port to the form in which metrics are asked for. */
import { type DaemonDetails } from '../../domain/status.js'

export interface MetricsText {
  /** For HTTP. */
  readonly contentType: string
  readonly text: string
}

export interface MetricsFormat {
  format(status: DaemonDetails): Promise<MetricsText>
}
