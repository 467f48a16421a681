// Runs cases of one kind, each made of its seed alone: `fuzz.mjs KIND FIRST-SEED COUNT`. Says on descriptor 3, a line each, the
// seed of a case before it runs, what is wrong with it after it, and at the end how much memory the process took at most.
import { Buffer } from 'node:buffer'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import os, { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import process from 'node:process'
import { Lifetime } from '../../dist/compose/lifetime.js'
import { loadConfig } from '../../dist/compose/commands.js'
import { favourMemoryFromNowOn } from '../../dist/delivery/cli/favour-memory.js'
import { main } from '../../dist/delivery/cli/main.js'
import { formatObjectPath, ownerObjectName } from '../../dist/domain/stored/replica-layout.js'
import { formatTrailer, parseTrailer } from '../../dist/domain/stored/trailer.js'
import { SegmentVerifier } from '../../dist/domain/wal/segment-verifier.js'
import { checksumBytes, frameBytes, walHeaderBytes } from '../../dist/domain/wal/wal-format.js'
import { bytesOf, digestOf, makeReplica } from './fuzzed-replica.mjs'
import { seeded } from './random.ts'

// To start more than one thread for each restore would take most of the time.
os.availableParallelism = () => 1
syncBuiltinESMExports()

// As every command but the daemon begins.
favourMemoryFromNowOn()
const [, , kind, firstSeed, count] = process.argv
const say = (line) => writeSync(3, `${JSON.stringify(line)}\n`)
const folder = mkdtempSync(join(tmpdir(), 'tsreplicate-fuzz-'))
const pristine = await makeReplica()

/** Numbers and choices of one case. */
function dice(seed) {
  const random = seeded(seed)
  const below = (limit) => Math.floor(random() * limit)
  const oneOf = (choices) => choices[below(choices.length)]
  const bytes = (length) => Buffer.from(Array.from({ length }, () => below(256)))
  return { below, oneOf, bytes, chance: (share) => random() < share }
}

/** Other bytes in place of some: a bit, a run, an end, a hole, something of itself again. */
function damaged(whole, { below, oneOf, bytes }) {
  if (whole.length === 0) return bytes(below(200))
  const at = below(whole.length)
  const length = Math.min(1 + below(100), whole.length - at)
  const copy = Buffer.from(whole)
  switch (oneOf(['bit', 'bit', 'run', 'zeros', 'cut', 'longer', 'insert', 'remove', 'twice'])) {
    case 'bit':
      copy[at] ^= 1 << below(8)
      return copy
    case 'run':
      bytes(length).copy(copy, at)
      return copy
    case 'zeros':
      return copy.fill(0, at, at + length)
    case 'cut':
      return copy.subarray(0, at)
    case 'longer':
      return Buffer.concat([copy, bytes(1 + below(300))])
    case 'insert':
      return Buffer.concat([copy.subarray(0, at), bytes(length), copy.subarray(at)])
    case 'remove':
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + length)])
    default:
      return Buffer.concat([copy.subarray(0, at + length), copy.subarray(at)])
  }
}

const absurd = [0, 1, 511, 2 ** 31, 2 ** 32 - 2, 2 ** 32, 2 ** 52, Number.MAX_SAFE_INTEGER, 8.64e15]

/** The same trailer with a number in it that is another one, anywhere. */
function forged(trailer, { below, oneOf }) {
  const copy = JSON.parse(JSON.stringify(trailer))
  const places = []
  const collect = (value) => {
    for (const [key, each] of Object.entries(value)) {
      if (typeof each === 'number') places.push([value, key])
      else if (typeof each === 'object' && each !== null) collect(each)
    }
  }
  collect(copy)
  const [of, key] = oneOf(places)
  of[key] = oneOf([...absurd, of[key] + 1, Math.max(0, of[key] - 1), below(100_000)])
  if (copy.kind === 'wal-segment') copy.endOffset = copy.captures.at(-1).endOffset
  try {
    return formatTrailer(copy)
  } catch {
    return formatTrailer(trailer)
  }
}

async function replica(seed) {
  const roll = dice(seed)
  const { below, oneOf, chance } = roll
  const withTrailer = chance(0.7)
  const files = new Map()
  for (const [path, object] of pristine.objects) files.set(path, bytesOf(object, { withTrailer }))
  const all = [...files.keys()]
  // What a restore reads most.
  const newest = all.filter((path) => path.includes(pristine.generations.at(-1)))
  const pick = () => oneOf(chance(0.7) ? newest : all)
  let isForged = !withTrailer
  for (let n = 1 + below(3); n > 0; n -= 1) {
    const path = pick()
    const other = pick()
    const whole = files.get(path) ?? Buffer.alloc(0)
    switch (oneOf(['damage', 'damage', 'damage', 'delete', 'swap', 'copy', 'move', 'forge'])) {
      case 'damage':
        files.set(path, damaged(whole, roll))
        break
      case 'delete':
        files.delete(path)
        break
      case 'swap':
        files.set(path, files.get(other) ?? whole)
        files.set(other, whole)
        break
      case 'copy':
        files.set(other, whole)
        break
      case 'move': {
        const place = { index: below(5), offset: oneOf([0, 32, 568, below(2 ** 32)]) }
        const generation = oneOf(pristine.generations)
        const kindOf = oneOf(['snapshot', 'wal-segment'])
        files.set(formatObjectPath({ kind: kindOf, generation, ...place }), whole)
        if (chance(0.5)) files.delete(path)
        break
      }
      default: {
        const { frame, trailer } = pristine.objects.get(path)
        files.set(path, Buffer.concat([frame, forged(trailer, roll)]))
        isForged = true
      }
    }
  }
  const root = join(folder, 'replica')
  const into = join(folder, 'into')
  rmSync(root, { recursive: true, force: true })
  mkdirSync(into, { recursive: true })
  for (const [path, bytes] of files) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), bytes)
  }
  let hasOwner = withTrailer && chance(0.9)
  if (hasOwner) {
    let owner = Buffer.from(pristine.owner)
    if (chance(0.1)) {
      owner = damaged(owner, roll)
      hasOwner = false
    }
    mkdirSync(root, { recursive: true })
    writeFileSync(join(root, ownerObjectName.replace('.json', '.1.json')), owner)
  }
  const momentMs = pristine.startMs + below(pristine.endMs - pristine.startMs + 5000)
  const target = oneOf([
    [],
    [],
    ['-timestamp', new Date(momentMs).toISOString()],
    ['-generation', oneOf(pristine.generations)],
    ['-index', below(4).toString(16).padStart(8, '0')],
  ])
  const output = join(into, 'out.db')
  // Of segments without trailers, nothing but the check tells which snapshot they follow. Else it only takes its time.
  const isChecked = chance(0.05) || !withTrailer
  const flags = [...(isChecked ? [] : ['-integrity-check', 'none']), ...target, '-o', output]
  await using lifetime = new Lifetime()
  const code = await main(['restore', ...flags, `file://${root}`], lifetime)
  const left = readdirSync(into)
  try {
    if (code !== 0) {
      if (left.length > 0) return `it ended with ${code} and left ${left.join(', ')}`
      return code === 1 ? undefined : `its exit code is ${code}`
    }
    if (left.length !== 1) return `it left ${left.join(', ')}`
    const commit = pristine.digests.indexOf(digestOf(output))
    if (commit === -1) return 'what it restored is no commit'
    const isNewest = commit === pristine.digests.length - 1
    if (hasOwner && !isForged && target.length === 0 && !isNewest) {
      return `it restored commit ${commit} of ${pristine.digests.length}, without a word`
    }
    return undefined
  } catch (error) {
    return `what it restored cannot be read: ${error}`
  } finally {
    rmSync(into, { recursive: true })
    // What verify says of it is another matter, but say it must.
    if (chance(0.1)) {
      const verified = await main(['verify', `file://${root}`], lifetime)
      if (![0, 1, 65].includes(verified)) say({ seed, problem: `verify ended with ${verified}` })
    }
  }
}

/** Whatever becomes of a WAL, only frames that were in it are taken, from the first on. */
function wal(seed) {
  const roll = dice(seed)
  const { below, oneOf } = roll
  const segments = [...pristine.objects.values()].filter(
    ({ trailer }) => trailer.kind === 'wal-segment' && trailer.startOffset === 0,
  )
  const { content } = oneOf(segments)
  let bytes = content
  for (let n = 1 + below(3); n > 0; n -= 1) bytes = damaged(bytes, roll)
  const verifier = new SegmentVerifier({
    ...{ offset: 0, header: undefined, wantedEndOffset: Infinity, latestEndOffset: Infinity },
  })
  const taken = []
  try {
    const blockBytes = 1 + below(3000)
    for (let at = 0; at < bytes.length; at += blockBytes) {
      for (const run of verifier.push(bytes.subarray(at, at + blockBytes)))
        taken.push(Buffer.from(run))
    }
    verifier.end()
  } catch (error) {
    if (error.code !== 'CORRUPTION') return `it throws ${error.stack}`
  }
  const frames = Buffer.concat(taken)
  const original = content.subarray(walHeaderBytes, walHeaderBytes + frames.length)
  if (frames.length % frameBytes(512) !== 0) return 'it takes a part of a frame'
  return frames.equals(original) ? undefined : 'it takes frames that were not in it'
}

/** What is read of a trailer can be written, and is read the same again. */
function trailer(seed) {
  const roll = dice(seed)
  const { oneOf, chance, below } = roll
  const { trailer: original } = oneOf([...pristine.objects.values()])
  let bytes = Buffer.from(chance(0.5) ? forged(original, roll) : formatTrailer(original))
  if (chance(0.8)) bytes = damaged(bytes, roll)
  if (chance(0.7) && bytes.length > 30) {
    // With a checksum that is right again.
    const fields = bytes.subarray(8, bytes.length - 16)
    const padded = Buffer.concat([fields, Buffer.alloc((8 - (fields.length % 8)) % 8)])
    const { s0, s1 } = checksumBytes(padded, { s0: 0, s1: 0 }, true)
    bytes.writeUInt32BE(s0, bytes.length - 16)
    bytes.writeUInt32BE(s1, bytes.length - 12)
    bytes.writeUInt32LE(bytes.length - 8, 4)
    bytes.writeUInt32LE(bytes.length, bytes.length - 8)
    bytes.write('tsr1', bytes.length - 4)
  }
  const found = parseTrailer(Buffer.concat([roll.bytes(below(50)), bytes]), Infinity)
  if (found.kind !== 'trailer') return undefined
  const again = parseTrailer(formatTrailer(found.trailer), Infinity)
  if (JSON.stringify(again.trailer) !== JSON.stringify(found.trailer)) return 'it is read otherwise'
  const { captures = [], commitTimeMs = 0 } = found.trailer
  for (const timeMs of [commitTimeMs, ...captures.map((each) => each.timeMs)]) {
    new Date(timeMs).toISOString()
  }
  return undefined
}

const tokens = [
  ...[
    '&a',
    '*a',
    '<<: *a',
    '[',
    ']',
    '{',
    '}',
    '|',
    '>',
    '"',
    "'",
    '- ',
    ': ',
    '#',
    '!!binary',
    '\t',
    '\0',
  ],
  ...[
    '1e999',
    '-1',
    '99999999999999999999s',
    'null',
    'true',
    '~',
    '$HOME',
    '${',
    '%zz',
    'file://',
    's3://a:b@c',
  ],
  ...['\u009b', '\u202e', '\ud800', '---', '...', '? ', '0x10', '1_000', '2026-01-01', '.inf'],
]

/** Every key there is, those that need not be there commented out. */
const sample = readFileSync(
  join(import.meta.dirname, '../../config/tsreplicate.yml'),
  'utf8',
).split('\n')

/** A configuration is read, or all that is wrong with it is said. */
async function config(seed) {
  const roll = dice(seed)
  const { below, oneOf, chance } = roll
  let lines = sample.map((line) => (chance(0.3) ? line.replace(/#(?=[a-z-])/, '') : line))
  for (let n = 1 + below(6); n > 0; n -= 1) {
    const at = below(lines.length)
    const line = lines[at] ?? ''
    const column = below(line.length + 1)
    switch (oneOf(['remove', 'twice', 'token', 'token', 'value', 'indent', 'damage'])) {
      case 'remove':
        lines.splice(at, 1 + below(5))
        break
      case 'twice':
        lines.splice(below(lines.length), 0, line)
        break
      case 'token':
        lines[at] = `${line.slice(0, column)}${oneOf(tokens)}${line.slice(column)}`
        break
      case 'value':
        lines[at] = line.replace(/: .*/, `: ${oneOf(tokens)}`)
        break
      case 'indent':
        lines[at] = chance(0.5) ? `  ${line}` : line.replace(/^ {2}/, '')
        break
      default:
        lines = damaged(Buffer.from(lines.join('\n')), roll)
          .toString('latin1')
          .split('\n')
    }
  }
  const path = join(folder, 'tsreplicate.yml')
  writeFileSync(path, lines.join('\n'))
  try {
    await loadConfig({ path })
    return undefined
  } catch (error) {
    return error.code === 'CONFIG' ? undefined : `it throws ${error.stack}`
  }
}

const kinds = { replica, wal, trailer, config }
try {
  for (let seed = Number(firstSeed); seed < Number(firstSeed) + Number(count); seed += 1) {
    say({ seed })
    let problem
    try {
      problem = await kinds[kind](seed)
    } catch (error) {
      problem = `it throws ${error.stack}`
    }
    if (problem !== undefined) say({ seed, problem })
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
say({
  maxMebibytes: Math.round(process.resourceUsage().maxRSS / 1024),
  isFolderLeft: existsSync(folder),
})
