import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { expandPath, parseReplicaUrl } from '../../../compose/commands.js'
import {
  countGenerations,
  createFiles,
  findDatabases,
  lookAtDatabase,
  type NewDatabase,
  newConfigText,
  refuseExisting,
  unitText,
  variablesOf,
} from '../../../compose/setup.js'
import { ConfigError, TsreplicateError, UsageError } from '../../../domain/errors.js'
import { countOf, formatBytes } from '../../../kit/quantity.js'
import { type FoundDatabase } from '../../../usecase/setup/find-databases.js'
import { placeReplicas } from '../../../usecase/setup/place-replicas.js'
import { exitCodes } from '../../exit-codes.js'
import { defineCommand } from '../command.js'
import { isUrl } from '../context.js'
import { jsonFlag } from '../flags.js'
import { complain, print, printJson } from '../output.js'
import { Questions } from '../questions.js'
import { quote } from '../restore-command.js'
import { formatTable } from '../table.js'

const systemConfig = '/etc/tsreplicate.yml'
const systemUnit = '/etc/systemd/system/tsreplicate.service'
/** Where packages put it. */
const packagedUnits = ['/usr/lib', '/lib'].map(
  (each) => `${each}/systemd/system/tsreplicate.service`,
)
const urlForms =
  'file:///FOLDER, s3://BUCKET/PATH, gcs://BUCKET/PATH or abs://ACCOUNT@CONTAINER/PATH'

export const init = defineCommand({
  name: 'init',
  summary: 'finds databases and writes a first configuration',
  about:
    'Finds the SQLite databases that are in use here: in open files of processes, in `DATABASE_URL`, in the configuration of Prisma, Drizzle, Django and Rails, and in the current folder. Asks which of them to replicate, and where to, unless the command line says so. Looks at the databases and the replicas, and writes a configuration with comments. It overwrites nothing, and adds to a file of only comments. Several databases get a place each below the URL.',
  example: 'tsreplicate init -o /data/tsreplicate.yml /data/app.db file:///backup/app',
  arguments: [
    { name: 'database-or-url', description: 'databases, and URLs of replicas', variadic: true },
  ],
  flags: {
    o: {
      value: 'path',
      description: `the file to write (${systemConfig} for root, or tsreplicate.yml here)`,
    },
    unit: { value: 'path', description: 'also write a unit for systemd; it is not enabled' },
    yes: {
      description: 'ask nothing: take the databases that are open, or named by the project here',
    },
    list: { description: 'only list what is found' },
    skipCheck: { description: 'do not look at the replicas' },
    ...jsonFlag,
  },
  exitCodes: {
    failed:
      'a database or replica could not be read, or a file is there already. Nothing was written',
  },
  async run(words, flags, { signal, lifetime }) {
    const found = words.some((word) => !isUrl(word)) ? [] : await findDatabases(signal)
    if (flags.list) {
      if (flags.json) printJson({ found })
      else print(tableOf(found))
      return exitCodes.done.code
    }
    const configPath = await expandPath(flags.o ?? defaultPath())
    const unitPath = flags.unit === undefined ? undefined : await expandPath(flags.unit)
    for (const path of [configPath, ...(unitPath === undefined ? [] : [unitPath])]) {
      await refuseExisting(path)
    }
    const asks = !flags.yes && !flags.json && Questions.arePossible
    const questions = asks ? lifetime.add(new Questions(signal)) : undefined
    if (found.length > 0 && !flags.json) complain(tableOf(found).trimEnd())
    refuseMissing(words, { found, takesUsed: flags.yes, questions })
    const databases = await lookAtAll(await chooseDatabases(words, found, questions))
    const wanted = await placeAll(
      databases.map(({ path }) => path),
      await chooseUrls(words.filter(isUrl), questions),
    )
    const text = newConfigText(wanted, configPath)
    const replicas = flags.skipCheck ? [] : await lookAtReplicas(wanted, signal)
    if (!(await mayWrite({ text, configPath, replicas }, questions))) {
      complain('nothing was written')
      return exitCodes.failed.code
    }
    const unit = unitPath ?? (await offerUnit(questions))
    await createFiles([
      { path: configPath, text },
      ...(unit === undefined ? [] : [{ path: unit, text: unitText(configPath) }]),
    ])
    const next = nextSteps(configPath, unit, wanted)
    const checked = [
      'the configuration is valid',
      ...databases.map(describeDatabase),
      ...replicas.map(describeReplica),
      ...(flags.skipCheck ? ['the replicas were not looked at'] : []),
    ]
    if (flags.json) {
      printJson({ config: configPath, unit, databases: wanted.map(plain), checked, next })
    } else {
      print(`wrote ${[configPath, ...(unit === undefined ? [] : [unit])].join(' and ')}\n`)
      print(checked.map((line) => `  ${line}\n`).join(''))
      print(`next:\n${next.map((line) => `  ${line}\n`).join('')}`)
    }
    return exitCodes.done.code
  },
})

function defaultPath(): string {
  return process.getuid?.() === 0 ? systemConfig : 'tsreplicate.yml'
}

function tableOf(found: readonly FoundDatabase[]): string {
  if (found.length === 0) return 'no SQLite database was found\n'
  return formatTable(
    ['', 'database', 'size', 'why'],
    found.map(({ path, sizeBytes, reasons }, i) => [
      String(i + 1),
      path,
      formatBytes(sizeBytes),
      reasons.join(', '),
    ]),
  )
}

/** Everything that would have to be asked, where nobody can be. */
function refuseMissing(
  words: readonly string[],
  context: {
    readonly found: readonly FoundDatabase[]
    readonly takesUsed: boolean
    readonly questions: Questions | undefined
  },
): void {
  const { found, takesUsed, questions } = context
  if (questions !== undefined) return
  const isNamed = words.some((word) => !isUrl(word))
  const used = found.filter(({ isInUse }) => isInUse)
  const missing = [
    ...(isNamed || (takesUsed && used.length > 0) ? [] : ['a database']),
    ...(words.some(isUrl) ? [] : ['the URL of a replica']),
  ]
  if (missing.length === 0) return
  const example = found[0]?.path ?? '/data/app.db'
  const yes = used.length === 0 ? '' : ' With -yes, the databases that are in use are taken.'
  throw new UsageError(`nobody can be asked here: ${missing.join(' and ')} must be given`, {
    hint: `Write for example: tsreplicate init ${quote(example)} s3://my-bucket/app.${yes}`,
  })
}

async function chooseDatabases(
  words: readonly string[],
  found: readonly FoundDatabase[],
  questions: Questions | undefined,
): Promise<readonly string[]> {
  const named = words.filter((word) => !isUrl(word))
  if (named.length > 0) return Promise.all(named.map(expandPath))
  const used = found.filter(({ isInUse }) => isInUse)
  if (questions === undefined) return used.map(({ path }) => path)
  const proposed = used.length > 0 ? used : found.slice(0, 1)
  const numbers = proposed.map((each) => found.indexOf(each) + 1).join(',')
  for (;;) {
    const answer = await questions.ask(
      found.length === 0
        ? 'No SQLite database was found. Which one is to be replicated? Its path:'
        : `Which ones are to be replicated? Numbers, or a path [${numbers}]:`,
    )
    if (answer === '' && proposed.length > 0) return proposed.map(({ path }) => path)
    if (/^[\d, ]+$/.test(answer)) {
      const chosen = answer.split(/[, ]+/).map((number) => found[Number(number) - 1])
      const paths = chosen.flatMap((each) => (each === undefined ? [] : [each.path]))
      if (paths.length === chosen.length) return [...new Set(paths)]
    } else if (answer !== '') {
      return [await expandPath(answer)]
    }
  }
}

async function chooseUrls(
  given: readonly string[],
  questions: Questions | undefined,
): Promise<readonly string[]> {
  for (const url of given) await parseReplicaUrl(url)
  if (given.length > 0 || questions === undefined) return given
  for (;;) {
    const answer = await questions.ask(`Where to? ${urlForms}:`)
    const url = /^[~./]/.test(answer) ? `file://${await expandPath(answer)}` : answer
    try {
      await parseReplicaUrl(url)
      return [url]
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      complain(error.message)
    }
  }
}

type SeenDatabase = Awaited<ReturnType<typeof lookAtDatabase>>

async function lookAtAll(paths: readonly string[]): Promise<readonly SeenDatabase[]> {
  const seen: SeenDatabase[] = []
  for (const path of paths) {
    const database = await lookAtDatabase(path)
    if (!seen.some((each) => each.path === database.path)) seen.push(database)
  }
  return seen
}

async function placeAll(
  paths: readonly string[],
  urls: readonly string[],
): Promise<readonly NewDatabase[]> {
  const places = urls.map((url) => placeReplicas(paths, url))
  return Promise.all(
    paths.map(async (path) => ({
      path,
      replicas: await Promise.all(
        places.map(async (place) => {
          const url = place.get(path) ?? ''
          return { url, target: await parseReplicaUrl(url) }
        }),
      ),
    })),
  )
}

interface SeenReplica {
  readonly url: string
  /** Of what is stored there already, or why that is not known. */
  readonly generations: number | TsreplicateError
}

async function lookAtReplicas(
  databases: readonly NewDatabase[],
  signal: AbortSignal,
): Promise<readonly SeenReplica[]> {
  const seen: SeenReplica[] = []
  for (const { url, target } of databases.flatMap(({ replicas }) => replicas)) {
    try {
      seen.push({ url, generations: await countGenerations(target, signal) })
    } catch (error) {
      if (!(error instanceof TsreplicateError)) throw error
      seen.push({ url, generations: error })
    }
  }
  return seen
}

/** A replica that cannot be listed ends it, unless somebody is there to say what else is to be done. */
async function mayWrite(
  plan: {
    readonly text: string
    readonly configPath: string
    readonly replicas: readonly SeenReplica[]
  },
  questions: Questions | undefined,
): Promise<boolean> {
  const errors = plan.replicas.flatMap(({ generations }) =>
    typeof generations === 'number' ? [] : [generations],
  )
  if (questions === undefined) {
    const [first] = errors
    if (first === undefined) return true
    complain('nothing was written; with -skip-check, replicas are not looked at')
    throw first
  }
  for (const { message, hint } of errors) {
    complain(message)
    if (hint !== undefined) complain(`hint: ${hint}`)
  }
  complain(`\n${plan.text}`)
  const anyway = errors.length > 0 ? ' all the same' : ''
  return questions.confirm(`Write this to ${plan.configPath}${anyway}?`, errors.length === 0)
}

/** To who may write it, where there is systemd and no unit yet. */
async function offerUnit(questions: Questions | undefined): Promise<string | undefined> {
  const isOffered =
    questions !== undefined &&
    process.getuid?.() === 0 &&
    existsSync(resolve(systemUnit, '..')) &&
    ![systemUnit, ...packagedUnits].some((path) => existsSync(path))
  if (!isOffered) return undefined
  const question = `Write a unit for systemd to ${systemUnit}? It is not enabled.`
  return (await questions.confirm(question, false)) ? systemUnit : undefined
}

function describeDatabase({ path, sizeBytes, mayWrite }: SeenDatabase): string {
  const size = formatBytes(sizeBytes)
  return mayWrite
    ? `${path} is a SQLite database of ${size}`
    : `${path} is a SQLite database of ${size}, which this user may not write: tsreplicate must run as its owner, or as root`
}

function describeReplica({ url, generations }: SeenReplica): string {
  if (typeof generations !== 'number') return `${url} could not be listed`
  if (generations === 0) return `${url} can be listed, and holds no backup yet`
  const count = countOf(generations, 'generation')
  return `${url} can be listed, and holds backups already (${count}): of another database, choose another place`
}

function nextSteps(
  configPath: string,
  unit: string | undefined,
  databases: readonly NewDatabase[],
): readonly string[] {
  const types = new Set(
    databases.flatMap(({ replicas }) => replicas.map(({ target }) => target.type)),
  )
  const variables = [...types].flatMap(variablesOf)
  const isPackaged = configPath === systemConfig && packagedUnits.some((path) => existsSync(path))
  const isServed = unit !== undefined || isPackaged
  const where = isServed ? '/etc/tsreplicate.env' : 'the environment'
  const flag = configPath === systemConfig ? '' : ` -config ${quote(configPath)}`
  return [
    ...(variables.length === 0
      ? []
      : [`put ${variables.join(' and ')} into ${where}, unless the machine has a role`]),
    ...(unit === undefined ? [] : ['systemctl daemon-reload']),
    isServed ? 'systemctl enable --now tsreplicate' : `tsreplicate replicate${flag}`,
    `tsreplicate status${flag}`,
  ]
}

function plain({ path, replicas }: NewDatabase): object {
  return { path, replicas: replicas.map(({ url }) => url) }
}
