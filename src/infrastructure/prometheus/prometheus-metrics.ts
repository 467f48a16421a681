import { setImmediate as nextTurn } from 'node:timers/promises'
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import { type DaemonStatus } from '../../domain/status.js'
import { type MetricsFormat } from '../../usecase/ports/metrics-format.js'
import { type ReplicaMetrics } from '../../usecase/ports/replica-metrics.js'
import { type Labels, type MetricInfo, metricTable } from './metric-table.js'
import { OperationCounts } from './operation-counts.js'

/** A timer that measures how late it is; prom-client's own of 10 ms would keep an idle daemon awake. */
const eventLoopResolutionMs = 100

/**
 * Metrics in Prometheus's text format. Nothing is kept between two scrapes but plain counts of what was asked of stores
 * and of the process: the rest is read from the status when it is asked for.
 */
export class PrometheusMetrics implements MetricsFormat {
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE
  readonly #process = new Registry()
  readonly #operations = new OperationCounts()

  constructor() {
    collectDefaultMetrics({
      register: this.#process,
      eventLoopMonitoringPrecision: eventLoopResolutionMs,
    })
  }

  /** What counts the operations on a replica of this type. */
  operationsOf(type: string): ReplicaMetrics {
    return this.#operations.of(type)
  }

  async format(status: DaemonStatus): Promise<string> {
    const parts: string[] = []
    for (const info of [...metricTable, ...this.#operations.metrics]) {
      parts.push(await formatMetric(info, status))
      // A thousand databases are tens of thousands of lines: others get their turn in between.
      await nextTurn()
    }
    parts.push(await this.#process.metrics())
    return parts.join('\n')
  }
}

/** Name, help and type stand there also without a sample. */
async function formatMetric(info: MetricInfo, status: DaemonStatus): Promise<string> {
  const { name, help, type, labels, samples } = info
  const register = new Registry()
  const options = { name, help, labelNames: [...labels], registers: [register] }
  const add = adderOf(type, options)
  for (const [sampleLabels, value] of samples(status)) add(sampleLabels, value)
  return `${await register.getSingleMetricAsString(name)}\n`
}

function adderOf(
  type: MetricInfo['type'],
  options: { name: string; help: string; labelNames: string[]; registers: Registry[] },
): (labels: Labels, value: number) => void {
  if (type === 'gauge') {
    const gauge = new Gauge(options)
    return (labels, value) => gauge.set(labels, value)
  }
  const counter = new Counter(options)
  return (labels, value) => counter.inc(labels, value)
}
