/** Where the settings of a replica's target come from: the keys of a file, the query of a URL, or one above the other. */
export interface TargetSettings {
  has(key: string): boolean
  /** Each of these is undefined where the setting is absent, or wrong and reported. */
  string(key: string): string | undefined
  boolean(key: string): boolean | undefined
  integer(key: string): number | undefined
  /** In bytes. */
  size(key: string): number | undefined
  /** Reports what is wrong with a setting, or with its absence. */
  problem(key: string, problem: string): void
}

/** What `above` has, and of the rest what `below` has. */
export function layerSettings(above: TargetSettings, below: TargetSettings): TargetSettings {
  const of = (key: string): TargetSettings => (!above.has(key) && below.has(key) ? below : above)
  return {
    has: (key) => above.has(key) || below.has(key),
    string: (key) => of(key).string(key),
    boolean: (key) => of(key).boolean(key),
    integer: (key) => of(key).integer(key),
    size: (key) => of(key).size(key),
    problem: (key, problem) => {
      of(key).problem(key, problem)
    },
  }
}

export function parseBoolean(text: string): boolean | undefined {
  return text === 'true' ? true : text === 'false' ? false : undefined
}

const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
}

/** A number of bytes with a unit, e.g. `500MB` or `1.5 GiB`; without one, bytes. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?i?B)?$/.exec(text)
  const unit = sizeUnits[match?.[2] ?? 'B']
  if (match?.[1] === undefined || unit === undefined) return undefined
  const bytes = Math.floor(Number(match[1]) * unit)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}
