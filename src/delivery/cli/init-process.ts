/**
 * Process 1 of a container inherits the processes that others leave behind, and has to wait for their ends: else each stays
 * as a zombie. Node waits only for its own. So a shell takes our place, which waits for all, and runs us as its child.
 */
import { existsSync } from 'node:fs'
import { whyNotExecute } from './may-execute.js'

const shell = '/bin/sh'
const signals = 'HUP INT QUIT USR1 USR2 TERM'
/** A shell gives its children an empty stdin, unless it is told otherwise. A `wait` ends with each signal, too. */
const script = `
exec 3<&0
"$@" <&3 3<&- & child=$!
exec 3<&-
for signal in ${signals}; do trap "kill -s $signal $child" $signal; done
while :; do
  wait $child; code=$?
  kill -0 $child 2>/dev/null || exit $code
done`

/** Goes on as another process, or, where there is no shell or none may be executed, as it is. */
export function becomeInit(): void {
  if (!existsSync(shell) || whyNotExecute() !== undefined) return
  const self = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  process.execve?.(shell, ['sh', '-c', script, 'tsreplicate', ...self], process.env)
}
