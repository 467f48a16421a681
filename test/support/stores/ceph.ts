/**
 * Ceph's S3 gateway from Debian's packages: one monitor, one object store in memory, one gateway, on loopback. Unlike
 * MinIO it has no tolerance for bodies in chunks, and no message in its errors.
 */
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createBucket } from './s3-bucket.ts'
import {
  answers,
  findProgram,
  type S3Store,
  type ServerProcess,
  startProcess,
  type UnavailableStore,
  waitUntilReady,
} from './server.ts'

const run = promisify(execFile)
const packages = ['ceph-mon', 'ceph-osd', 'radosgw']
const accessKeyId = 'AKIATSREPLICATETEST0'
const secretAccessKey = 'tsreplicateSecret0123456789tsreplicateSec'
const bucket = 'tsreplicate-test'
const region = 'us-east-1'
/** The gateway, the monitor, and what the object store takes. */
const portCount = 21

export async function startCeph(): Promise<S3Store | UnavailableStore> {
  const missing = await installPackages()
  if (missing !== undefined) return { unavailable: missing }
  // The path of a socket has 107 bytes at most, so that the folder cannot lie just anywhere.
  const folder = await mkdtemp('/tmp/ceph-')
  const servers: ServerProcess[] = []
  const stop = async (): Promise<void> => {
    // The gateway first, then what it stands on.
    for (const server of servers.reverse()) await server.stop()
    servers.length = 0
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const port = await freePorts(portCount)
    const endpoint = `http://127.0.0.1:${port}`
    await startCluster(folder, port, servers)
    const store = { endpoint, accessKeyId, secretAccessKey, bucket, region }
    await createBucket(store)
    return { ...store, stop }
  } catch (error) {
    await stop()
    return { unavailable: `Ceph does not start: ${String(error)}` }
  }
}

/** Why the packages are not there, or undefined when they are. */
async function installPackages(): Promise<string | undefined> {
  const there = await Promise.all(packages.map((name) => findProgram(name)))
  if (!there.includes(undefined)) return undefined
  const install = `apt-get install --no-install-recommends ${packages.join(' ')}`
  if (process.getuid?.() !== 0 || (await findProgram('apt-get')) === undefined) {
    return `it needs ${install}`
  }
  try {
    const options = { maxBuffer: 64 * 1024 * 1024, timeout: 10 * 60_000 }
    await run('apt-get', ['update', '-q'], options)
    await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages], {
      ...options,
      // Debian would start the services it installs; ours run on ports of their own.
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    })
    return undefined
  } catch (error) {
    return `${install} failed: ${String(error).slice(-500)}`
  }
}

async function startCluster(folder: string, port: number, servers: ServerProcess[]): Promise<void> {
  for (const name of ['mon', 'osd', 'run', 'log', 'rgw']) await mkdir(join(folder, name))
  const clusterId = randomUUID()
  const conf = join(folder, 'ceph.conf')
  await writeFile(conf, configuration(folder, port, clusterId))
  const withConf = ['-c', conf]
  const ceph = (...args: string[]): Promise<{ stdout: string }> =>
    run('ceph', [...withConf, '--connect-timeout', '10', ...args], { timeout: 60_000 })
  const start = (name: string, ...args: string[]): ServerProcess => {
    const server = startProcess(name, [name, ...withConf, ...args, '-f'])
    servers.push(server)
    return server
  }

  const map = join(folder, 'monmap')
  const address = `[v2:127.0.0.1:${port + 1}]`
  await run('monmaptool', ['--create', '--fsid', clusterId, '--addv', 'a', address, map])
  await run('ceph-mon', [...withConf, '--mkfs', '-i', 'a', '--monmap', map])
  const monitor = start('ceph-mon', '-i', 'a')
  await waitUntilReady(monitor, async () => (await ceph('mon', 'stat')).stdout !== '')

  const storeId = randomUUID()
  await ceph('osd', 'new', storeId)
  await run('ceph-osd', [...withConf, '-i', '0', '--mkfs', '--osd-uuid', storeId])
  const objects = start('ceph-osd', '-i', '0')
  await waitUntilReady(objects, async () => (await ceph('osd', 'stat')).stdout.includes(' 1 up'))

  const user = ['--uid=test', '--display-name=test']
  const keys = [`--access-key=${accessKeyId}`, `--secret=${secretAccessKey}`]
  await run('radosgw-admin', [...withConf, 'user', 'create', ...user, ...keys], {
    timeout: 60_000,
  })
  const gateway = start('radosgw', '-n', 'client.rgw')
  await waitUntilReady(gateway, () => answers(`http://127.0.0.1:${port}/`))
}

function configuration(folder: string, port: number, clusterId: string): string {
  return `[global]
fsid = ${clusterId}
mon host = v2:127.0.0.1:${port + 1}
mon initial members = a
# No authentication among its own parts: all is on loopback, and the gateway checks its clients.
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv4 = true
ms bind ipv6 = false
ms bind msgr1 = false
ms bind port min = ${port + 2}
ms bind port max = ${port + portCount - 1}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
run dir = ${folder}/run
admin socket = ${folder}/run/$name.asok
pid file =
crash dir = ${folder}/run
keyring = ${folder}/keyring
log file = ${folder}/log/$name.log
mon cluster log file = ${folder}/log/cluster.log
log to stderr = false
[mon]
mon data = ${folder}/mon
mon data avail crit = 1
mon data avail warn = 2
# One monitor has nobody to wait for.
paxos propose interval = 0.05
paxos min wait = 0.01
[osd]
osd data = ${folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
[client]
rgw data = ${folder}/rgw
# Without tcp_nodelay every read takes 44 ms.
rgw frontends = beast endpoint=127.0.0.1:${port} tcp_nodelay=1
rgw dns name = localhost
rgw run sync thread = false
`
}

/** The first of so many consecutive ports that are free now. */
async function freePorts(count: number): Promise<number> {
  for (let tries = 0; tries < 100; tries += 1) {
    const first = 20_000 + Math.floor(Math.random() * 20_000)
    const free = await Promise.all(Array.from({ length: count }, (_, i) => isFree(first + i)))
    if (!free.includes(false)) return first
  }
  throw new Error('no free ports')
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
