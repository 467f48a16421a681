/** A process that compares a live database with a restored one. */
import { compareFiles } from '../../infrastructure/comparison/compare-files.js'
import { type ComparisonReply } from '../../infrastructure/comparison/forked-comparison.js'
import { messageOf } from '../../kit/error-text.js'
import { type ComparisonRequest } from '../../usecase/ports/live-comparison.js'

// Whoever wanted to know is gone: an answer could not be sent.
process.once('disconnect', () => process.exit(0))
process.once('message', (request: ComparisonRequest) => {
  process.send?.(answer(request))
})

function answer(request: ComparisonRequest): ComparisonReply {
  try {
    return { kind: 'result', result: compareFiles(request) }
  } catch (error) {
    return { kind: 'failed', message: messageOf(error) }
  }
}
