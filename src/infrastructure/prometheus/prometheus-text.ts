import { setImmediate as nextTurn } from 'node:timers/promises'
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import { type DaemonDetails } from '../../domain/status.js'
import { type MetricsText } from '../../usecase/ports/metrics-format.js'
import { type Labels, type MetricInfo } from './metric-table.js'

/** A timer that measures how late it is; prom-client's own of 10 ms would keep an idle daemon awake. */
const eventLoopResolutionMs = 100

/** Writes metrics as text, and those of the process, which are collected from here on. */
export class PrometheusText {
  readonly #process = new Registry()

  constructor() {
    collectDefaultMetrics({
      register: this.#process,
      eventLoopMonitoringPrecision: eventLoopResolutionMs,
    })
  }

  async write(metrics: readonly MetricInfo[], status: DaemonDetails): Promise<MetricsText> {
    const parts: string[] = []
    for (const info of metrics) {
      parts.push(await formatMetric(info, status))
      // A thousand databases are tens of thousands of lines: others get their turn in between.
      await nextTurn()
    }
    parts.push(await this.#process.metrics())
    return { contentType: Registry.PROMETHEUS_CONTENT_TYPE, text: parts.join('\n') }
  }
}

/** Name, help and type stand there also without a sample. */
async function formatMetric(info: MetricInfo, status: DaemonDetails): Promise<string> {
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
