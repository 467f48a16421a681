import assert from 'node:assert'

/**
 * Where each of the databases goes below a URL. The only one takes the URL as it is; of several, each has a place of its own,
 * by as much of its path as tells them apart.
 */
export function placeReplicas(paths: readonly string[], url: string): ReadonlyMap<string, string> {
  if (paths.length < 2) return new Map(paths.map((path) => [path, url]))
  const parts = paths.map((path) => path.split('/').filter((part) => part !== ''))
  const longest = Math.max(...parts.map(({ length }) => length))
  for (let count = 1; count <= longest; count += 1) {
    const names = parts.map((each) => each.slice(-count).join('/'))
    if (new Set(names).size < names.length) continue
    return new Map(paths.map((path, i) => [path, below(url, names[i] ?? '')]))
  }
  return assert.fail('two databases of one path')
}

/** The URL of a folder is taken literally; any other one has escapes, and may have a query. */
function below(url: string, name: string): string {
  const isFolder = /^file:/i.test(url)
  const [place = '', ...query] = isFolder ? [url] : url.split('?')
  const written = isFolder ? name : name.split('/').map(encodeURIComponent).join('/')
  return [`${place.replace(/\/+$/, '')}/${written}`, ...query].join('?')
}
