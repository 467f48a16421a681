/**
 * What the S3-compatible stores want differently. One row per provider, found by the host of the endpoint, or by name
 * when the configuration says so. What all of them take is no row's matter: real SHA-256 of a body of known length,
 * no checksum headers, no `Expect`, parts of one size.
 */

/** How one provider is to be talked to. */
export interface ProviderProfile {
  readonly name: string
  /** The hosts of its endpoints; undefined: only by name. A first group, if there is one, is the region. */
  readonly hosts: RegExp | undefined
  /** Where an endpoint's host does not tell the region; undefined: the store is asked. */
  readonly defaultRegion: string | undefined
  /** Whether the bucket goes into the path, not into the host name. */
  readonly pathStyle: boolean
  /** How many parts of one object may be in flight. */
  readonly maxConcurrentParts: number
  /** How several objects are deleted: in one request, with or without `Content-MD5`, or one by one. */
  readonly deletion: 'many-with-md5' | 'many' | 'single'
  /** Whether bytes go with their `Content-MD5`, without which a bucket with Object Lock refuses them. */
  readonly bodyMd5: boolean
  /** Sent with every request. */
  readonly headers: Readonly<Record<string, string>>
}

const usual = {
  defaultRegion: 'us-east-1',
  pathStyle: true,
  maxConcurrentParts: 4,
  deletion: 'many-with-md5',
  bodyMd5: false,
  headers: {},
} as const

const anyS3: ProviderProfile = { ...usual, name: 'default', hosts: undefined }

/** Every profile. The first whose hosts match is taken. */
export const providerProfiles: readonly ProviderProfile[] = [
  {
    ...usual,
    name: 'aws',
    hosts:
      /^(?:.+\.)?s3(?:[.-](?:dualstack\.|fips\.)?([a-z]{2}(?:-[a-z]+)+-\d))?\.amazonaws\.com(?:\.cn)?$/,
    defaultRegion: undefined,
    pathStyle: false,
    bodyMd5: true,
  },
  {
    ...usual,
    name: 'backblaze',
    hosts: /^(?:.+\.)?s3\.([a-z0-9-]+)\.backblazeb2\.com$/,
    bodyMd5: true,
  },
  {
    ...usual,
    name: 'r2',
    hosts: /\.r2\.cloudflarestorage\.com$/,
    defaultRegion: 'auto',
    // More parts at once are answered with 500.
    maxConcurrentParts: 2,
    // Its DeleteObjects has reported success without effect; single deletions cost nothing there.
    deletion: 'single',
  },
  {
    ...usual,
    name: 'minio',
    hosts: /(?:^|[.-])minio(?:[.-]|$)|^(?:.+\.)?localhost$/,
    bodyMd5: true,
  },
  {
    ...usual,
    name: 'digitalocean',
    hosts: /^(?:.+\.)?([a-z0-9-]+)\.digitaloceanspaces\.com$/,
    pathStyle: false,
  },
  { ...usual, name: 'scaleway', hosts: /^(?:.+\.)?s3\.([a-z0-9-]+)\.scw\.cloud$/ },
  { ...usual, name: 'hetzner', hosts: /^(?:.+\.)?([a-z0-9-]+)\.your-objectstorage\.com$/ },
  { ...usual, name: 'filebase', hosts: /^(?:.+\.)?s3\.filebase\.(?:com|io)$/ },
  {
    ...usual,
    name: 'tigris',
    hosts: /^(?:.+\.)?(?:fly\.storage\.tigris\.dev|t3\.storage\.dev)$/,
    defaultRegion: 'auto',
    deletion: 'many',
    // What was written is then read everywhere, not only in its own region.
    headers: { 'x-tigris-consistent': 'true' },
  },
  { ...usual, name: 'supabase', hosts: /\.supabase\.(?:co|red|com)$/ },
  {
    ...usual,
    name: 'wasabi',
    hosts: /^(?:.+\.)?s3\.(?:([a-z0-9-]+)\.)?wasabisys\.com$/,
    bodyMd5: true,
  },
  {
    ...usual,
    name: 'oci',
    hosts: /\.compat\.objectstorage\.([a-z0-9-]+)\.(?:oraclecloud\.com|oci\.customer-oci\.com)$/,
  },
  { ...usual, name: 'storj', hosts: /^gateway\.(?:[a-z0-9-]+\.)?storjshare\.io$/ },
  { ...usual, name: 'garage', hosts: /(?:^|[.-])garage(?:[.-]|$)/, defaultRegion: 'garage' },
  { ...usual, name: 'linode', hosts: /^(?:.+\.)?([a-z0-9-]+)\.linodeobjects\.com$/ },
  {
    ...usual,
    name: 'gcs-s3',
    hosts: /^(?:.+\.)?storage\.googleapis\.com$/,
    defaultRegion: 'auto',
    // It has no DeleteObjects.
    deletion: 'single',
  },
  anyS3,
]

/** The profile of a name, or undefined if there is none of that name. */
export function profileNamed(name: string): ProviderProfile | undefined {
  return providerProfiles.find((profile) => profile.name === name)
}

/** The profile of an endpoint; none is Amazon's own. */
export function profileOf(endpoint: URL | undefined): ProviderProfile {
  const host = endpoint?.hostname ?? 's3.amazonaws.com'
  return providerProfiles.find(({ hosts }) => hosts?.test(host)) ?? anyS3
}

/** The region that an endpoint's host names. */
export function regionInHost(
  profile: ProviderProfile,
  endpoint: URL | undefined,
): string | undefined {
  return endpoint === undefined ? undefined : profile.hosts?.exec(endpoint.hostname)?.[1]
}
