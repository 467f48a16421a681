import { describe, expect, it } from 'vitest'
import {
  isAboutDatabase,
  namesInDjango,
  namesInRails,
  namesInScript,
  parseVariables,
  pathsIn,
} from '../../../../src/infrastructure/finder/named-paths.ts'

it.each([
  ['file:./dev.db', ['./dev.db']],
  ['file:/data/app', ['/data/app']],
  ['file:///data/app.db', ['/data/app.db', 'data/app.db']],
  ['file://localhost/data/app.db', ['/data/app.db', 'data/app.db']],
  ['file:dev.db?connection_limit=1', ['dev.db']],
  ['sqlite://app.db', ['app.db']],
  ['sqlite:///app.db', ['/app.db', 'app.db']],
  ['sqlite:////data/app.db', ['/data/app.db']],
  ['sqlite3:storage/production.sqlite3', ['storage/production.sqlite3']],
  ['jdbc:sqlite:/data/app.db', ['/data/app.db']],
  ['./data/app.sqlite', ['./data/app.sqlite']],
  [' app.db3 ', ['app.db3']],
  ['sqlite::memory:', []],
  ['sqlite:///:memory:', []],
  ['file:', []],
  ['postgres://me:secret@db/app', []],
  ['libsql://app.turso.io', []],
  ['https://example.com/app.db', []],
  ['app', []],
  ['', []],
])('%j may be the paths %j', (text, paths) => {
  expect(pathsIn(text)).toEqual(paths)
})

it('reads variables as a shell or dotenv would', () => {
  const text = `# DATABASE_URL=file:old.db
DATABASE_URL="file:./a b.db" # here
export DB_PATH='/data/c#1.db'
  SQLITE = plain.db   # there
EMPTY=
not a line
`
  expect([...parseVariables(text)]).toEqual([
    ['DATABASE_URL', 'file:./a b.db'],
    ['DB_PATH', '/data/c#1.db'],
    ['SQLITE', 'plain.db'],
    ['EMPTY', ''],
  ])
})

it('knows variables that are about a database', () => {
  const names = ['DATABASE_URL', 'DB_FILE_NAME', 'APP_DB', 'SQLITE_PATH', 'TERMINFO', 'ADBLOCK']
  expect(names.filter(isAboutDatabase)).toEqual(names.slice(0, 4))
})

describe('a configuration', () => {
  it('of Prisma names a file, or a variable', () => {
    const schema = (url: string): string => `
      generator client { provider = "prisma-client-js" }
      datasource db {
        provider = "sqlite"
        url      = ${url}
      }`
    expect(namesInScript(schema('"file:./dev.db"'))).toEqual({
      paths: [['./dev.db']],
      variables: [],
    })
    expect(namesInScript(schema('env("STORE")'))).toEqual({ paths: [], variables: ['STORE'] })
    const config = `export default defineConfig({
      schema: 'prisma/schema.prisma',
      datasource: { url: env('DATABASE_URL') },
    })`
    expect(namesInScript(config)).toEqual({ paths: [], variables: ['DATABASE_URL'] })
  })

  it('of Drizzle names a file, or a variable', () => {
    const config = (url: string): string => `import { defineConfig } from 'drizzle-kit'
      export default defineConfig({
        out: './drizzle', schema: './src/schema.ts', dialect: 'sqlite',
        dbCredentials: { url: ${url} },
      })`
    expect(namesInScript(config("'file:local.db'")).paths).toEqual([['local.db']])
    expect(namesInScript(config('process.env.DB_FILE_NAME!')).variables).toEqual(['DB_FILE_NAME'])
    expect(namesInScript(config("process.env['DB']")).variables).toEqual(['DB'])
  })

  it.each([
    [`'NAME': BASE_DIR / 'db.sqlite3',`, ['db.sqlite3', 'db.sqlite3'], []],
    [`"NAME": os.path.join(BASE_DIR, "data", "app.db"),`, ['data/app.db', 'app.db'], []],
    [`'NAME': '/data/app.sqlite3'`, ['/data/app.sqlite3', '/data/app.sqlite3'], []],
    [`'NAME': os.environ.get('DB_PATH', 'app.db')`, ['DB_PATH/app.db', 'app.db'], ['DB_PATH']],
    [`'NAME': os.environ['DB_PATH']`, [], ['DB_PATH']],
    [`'NAME': 'mydatabase', 'ENGINE': 'django.db.backends.postgresql'`, [], []],
  ])('of Django with %s', (line, paths, variables) => {
    expect(namesInDjango(`DATABASES = {\n  'default': {\n    ${line}\n  }\n}`)).toEqual({
      paths: paths.length === 0 ? [] : [paths],
      variables,
    })
  })

  it('of Rails names the files of all its databases, also within Ruby', () => {
    const text = `default: &default
  adapter: sqlite3
  max_connections: <%= ENV.fetch("RAILS_MAX_THREADS") { 5 } %>
development:
  <<: *default
  database: storage/development.sqlite3
production:
  primary:
    database: <%= ENV.fetch("DB_PATH", "storage/production.sqlite3") %>
  cache:
    url: "sqlite3:storage/cache.sqlite3"
`
    expect(namesInRails(text)).toEqual({
      paths: [
        ['storage/development.sqlite3'],
        ['storage/production.sqlite3'],
        ['storage/cache.sqlite3'],
      ],
      variables: ['RAILS_MAX_THREADS', 'DB_PATH'],
    })
  })
})
