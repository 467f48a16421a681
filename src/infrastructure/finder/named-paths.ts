/** Reads which files other programs take for their database, out of their variables and configurations. */

/** What other programs name a database by. Each text may mean several paths; the first one that exists is meant. */
export interface Names {
  readonly paths: readonly (readonly string[])[]
  /** Variables whose values are such texts. */
  readonly variables: readonly string[]
}

const fileName = /\.(db|db3|s3db|sqlite|sqlite3)$/i

export function isDatabaseName(name: string): boolean {
  return fileName.test(name)
}

/**
 * The paths that a text may mean that is a path of a database, or a connection string for SQLite; none for anything else. After
 * three slashes some programs see an absolute path and some a relative one.
 */
export function pathsIn(text: string): readonly string[] {
  const plain = text.trim().replace(/^jdbc:/i, '')
  const url = /^(?:sqlite3?|file):(\/\/(?:localhost(?=\/))?)?([^?#]*)/i.exec(plain)
  if (url === null) return fileName.test(plain) && !/^[\w+]+:/.test(plain) ? [plain] : []
  const [, slashes, path = ''] = url
  if (path === '' || path === ':memory:' || path === '/:memory:') return []
  if (path.startsWith('//')) return [path.slice(1)]
  return slashes !== undefined && path.startsWith('/') ? [path, path.slice(1)] : [path]
}

/** The lines of a file like `.env`. */
export function parseVariables(text: string): ReadonlyMap<string, string> {
  const lines = text.matchAll(/^[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)[ \t]*=[ \t]*(.*)$/gm)
  return new Map(
    [...lines].map(([, name = '', value = '']) => {
      const quoted = /^(["'])(.*?)\1/.exec(value)?.[2]
      return [name, quoted ?? value.replace(/\s+#.*$/, '').trim()]
    }),
  )
}

/** Whether a variable of this name is likely to be about a database. */
export function isAboutDatabase(name: string): boolean {
  return /DATABASE|SQLITE|(^|_)DB(_|$)/i.test(name)
}

/** A schema of Prisma, or a configuration of Prisma or Drizzle: strings, and what is taken from the environment. */
export function namesInScript(text: string): Names {
  const variables = text.matchAll(
    /\benv\(\s*["'](\w+)["']|\bprocess\.env(?:\.(\w+)|\[["'](\w+)["']\])/g,
  )
  return {
    paths: stringsIn(text).map(pathsIn).filter(isNotEmpty),
    variables: [...variables].map(([, a, b, c]) => a ?? b ?? c ?? ''),
  }
}

/** Settings of Django: the strings of each `NAME`, which are joined below the folder of the project or are a path themselves. */
export function namesInDjango(text: string): Names {
  const names = [...text.matchAll(/["']NAME["']\s*:\s*(.+)/g)].map(([, value = '']) => value)
  const paths = names.map((value) => {
    const parts = stringsIn(value)
    const last = parts.at(-1) ?? ''
    return fileName.test(last) ? [parts.join('/'), last] : []
  })
  return { paths: paths.filter(isNotEmpty), variables: variablesInCode(text) }
}

/** `config/database.yml` of Rails. */
export function namesInRails(text: string): Names {
  const values = [...text.matchAll(/^\s*(?:database|url):\s*(.+?)\s*$/gm)].map(
    ([, value = '']) => value,
  )
  const paths = values.flatMap((value) => {
    const quoted = stringsIn(value)
    return (quoted.length > 0 ? quoted : [value]).map(pathsIn)
  })
  return { paths: paths.filter(isNotEmpty), variables: variablesInCode(text) }
}

function variablesInCode(text: string): readonly string[] {
  const read = /(?:ENV(?:\.fetch)?|environ(?:\.get)?|getenv)[[(]\s*["'](\w+)["']/g
  return [...text.matchAll(read)].map(([, name = '']) => name)
}

function stringsIn(text: string): string[] {
  return [...text.matchAll(/(["'`])((?:(?!\1)[^\\\n])*)\1/g)].map(([, , value = '']) => value)
}

function isNotEmpty(paths: readonly string[]): boolean {
  return paths.length > 0
}
