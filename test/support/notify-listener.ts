/** Listens as a service manager does: on a datagram socket, which Node does not have. Python does. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { Running } from './cli.ts'

const listener = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('listening', flush=True)
while True:
    data, fds, _, _ = socket.recv_fds(s, 65536, 4)
    for fd in fds: os.close(fd)
    print(repr(data.decode()), flush=True)
`

const works = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, { stdio: 'ignore' }).status === 0

/** Whether what the tests of the service need is on this machine. */
export const canListen =
  works('python3', '-c', 'import socket; socket.recv_fds') && works('systemd-notify', '--version')

/** What has been told, in its `output`: a line a message, newlines in it as \\n. */
export async function listenForNotifications(
  folder: string,
): Promise<{ listener: Running; socket: string }> {
  const socket = join(folder, 'notify.socket')
  const running = new Running('listener', 'python3', ['-c', listener, socket])
  await running.waitFor(/listening/)
  return { listener: running, socket }
}
