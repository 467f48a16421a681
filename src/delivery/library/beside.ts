/**
 * Of several processes of an application, one answers for all: the first. Where another one replicates something beside it, as a
 * database that was added there, what that one answers is of both: a probe must not find well what only one of them knows to be bad.
 */
import { type DaemonDetails, type DaemonStatus, type NotReady } from '../../domain/status.js'
import { type MetricsFormat } from '../../usecase/ports/metrics-format.js'
import { type Replication } from '../../usecase/daemon/replicated-databases.js'
import { type ReportStatus } from '../../usecase/daemon/report-status.js'
import { type DaemonAnswer, type Look } from '../daemon/ask-daemon.js'
import { parseDetailsAnswer, parseHealthAnswer, parseStatusAnswer } from '../daemon/answers.js'
import { statusAnswer, verdict } from '../daemon/health-server.js'

export interface Beside {
  readonly replication: Pick<Replication, 'wanted'>
  /** What the first has elsewhere than this process would. */
  readonly elsewhere: readonly NotReady[]
  readonly report: Pick<ReportStatus, 'status' | 'hanging'>
  readonly metrics: MetricsFormat
  readonly askFirst: (look: Look) => Promise<DaemonAnswer>
}

/** Undefined: nothing is replicated beside the first, and its answer is the whole. */
export async function answerBeside(
  { path, accept }: Look,
  { replication, elsewhere, report, metrics, askFirst }: Beside,
  signal: AbortSignal,
): Promise<DaemonAnswer | undefined> {
  if (replication.wanted.length + elsewhere.length === 0) return undefined
  if (path === '/healthz') {
    const first = parseHealthAnswer(await askFirst({ path, accept: 'application/json' }))
    return verdict(accept, [...first, ...report.hanging()], 'alive')
  }
  const first = await askFirst({ path: '/api/status', accept })
  const status = await report.status(signal)
  const own = { ...status, notReady: [...elsewhere, ...status.notReady] }
  if (path === '/metrics') {
    const both = together(parseDetailsAnswer(first, own), own)
    return { status: 200, ...(await metrics.format(both)) }
  }
  const both = together<DaemonStatus>(parseStatusAnswer(first), own)
  return path === '/readyz' ? verdict(accept, both.notReady, 'ready') : statusAnswer(both)
}

function together<T extends DaemonStatus | DaemonDetails>(first: T, own: T): T {
  const known = new Set(first.databases.map(({ path }) => path))
  const others = own.databases.filter(({ path }) => !known.has(path))
  return {
    ...first,
    notReady: [...first.notReady, ...own.notReady],
    databases: [...first.databases, ...others],
  }
}
