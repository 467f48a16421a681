/**
 * What runs this program, decided before anything else of it is loaded: under an older Node.js better-sqlite3 crashes the process,
 * and what is only like Node.js lacks what keeps an engine apart from its application.
 */
const oldest = { major: 22, minor: 22 }
const others = { bun: 'Bun', deno: 'Deno' }

/** Why this program does not run here, with what to do; undefined: it runs. `versions` are those of `process`. */
export function whyNotHere(
  versions: Readonly<Record<string, string | undefined>>,
): string | undefined {
  const needs = `tsreplicate needs Node.js ${oldest.major}.${oldest.minor} or later, but this is`
  for (const [key, name] of Object.entries(others)) {
    const version = versions[key]
    if (version === undefined) continue
    return `${needs} ${name} ${version}: install Node.js, and have it run \`tsreplicate replicate\` beside the programs that ${name} runs`
  }
  const [major = 0, minor = 0] = (versions['node'] ?? '').split('.').map(Number)
  if (major > oldest.major || (major === oldest.major && minor >= oldest.minor)) return undefined
  return `${needs} ${versions['node'] ?? 'none'}: install a current Node.js, and run it again`
}
