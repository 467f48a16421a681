import { type DaemonDetails } from '../../domain/status.js'
import { type MetricsFormat, type MetricsText } from '../../usecase/ports/metrics-format.js'
import { type ReplicaMetrics } from '../../usecase/ports/replica-metrics.js'
import { metricTable } from './metric-table.js'
import { OperationCounts } from './operation-counts.js'
import { type PrometheusText } from './prometheus-text.js'

/**
 * Metrics in Prometheus's text format. Nothing is kept between two scrapes but plain counts of what was asked of stores
 * and of the process: the rest is read from the status when it is asked for. What writes the text takes 20 MiB, and is loaded when
 * somebody asks.
 */
export class PrometheusMetrics implements MetricsFormat {
  readonly #operations = new OperationCounts()
  #text: PrometheusText | undefined

  /** What counts the operations on a replica of this type. */
  operationsOf(type: string): ReplicaMetrics {
    return this.#operations.of(type)
  }

  /** For whoever expects to be asked. */
  async load(): Promise<PrometheusText> {
    const { PrometheusText: Text } = await import('./prometheus-text.js')
    return (this.#text ??= new Text())
  }

  async format(status: DaemonDetails): Promise<MetricsText> {
    const text = await this.load()
    return text.write([...metricTable, ...this.#operations.metrics], status)
  }
}
