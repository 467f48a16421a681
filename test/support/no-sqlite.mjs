// Loaded before the program (`--import`): a machine that cannot load the library of SQLite, as one without libstdc++.
import process from 'node:process'

const load = process.dlopen
process.dlopen = (module, file, ...rest) => {
  if (!String(file).includes('better-sqlite3')) return load.call(process, module, file, ...rest)
  const why = 'Error loading shared library libstdc++.so.6: No such file or directory'
  throw Object.assign(new Error(why), { code: 'ERR_DLOPEN_FAILED' })
}
